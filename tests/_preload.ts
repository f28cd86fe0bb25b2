/**
 * Opens the C library before any test: it stays open for as long as the
 * process lives, and Deno's leak checks would blame whichever test came first.
 *
 * @module
 */
import { libc } from "../ffi/libc.ts";

libc();
