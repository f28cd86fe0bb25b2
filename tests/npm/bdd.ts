/**
 * `@std/testing/bdd` by way of `node:test`, for machines and runtimes that do not reach JSR.
 *
 * @module
 */
export {
  after as afterAll,
  afterEach,
  before as beforeAll,
  beforeEach,
  describe,
  it,
  test,
} from "node:test";
