#!/bin/sh
# Makes Bun's build for musl run on Debian, which has musl and no C++ library for it.
#
#     musl.sh BUN FOLDER      puts a `bun` into FOLDER, with the libraries that it asks for beside it
#
# Needs musl-tools, patchelf, and libstdc++-12-pic: GCC's C++ library as one archive of objects that fit a shared library.
# Of those, each symbol that Bun asks for is linked, against musl.
set -eu
bun=$1
folder=$2
gcc=$(dirname "$(cc -print-file-name=libstdc++_pic.a)")
cp "$bun" "$folder/bun"
chmod +x "$folder/bun"
cd "$folder"
# Data that Bun copies out of the library at its start has an address, but no code: all symbols except those of type T.
nm -D bun 2>/dev/null | awk '$(NF-1) != "T" { sub("@.*", "", $NF); print $NF }' | sort -u >wanted
nm --defined-only "$gcc/libstdc++_pic.a" 2>/dev/null | awk 'NF == 3 { print $3 }' | sort -u >defined
comm -12 wanted defined | sed 's/^/-Wl,-u,/' >flags
# What the archive expects of glibc.
cat >glibc.c <<END
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>
char __libc_single_threaded = 0;
int _dl_find_object(void *pc, void *result) { return -1; }
uint32_t arc4random(void) {
  uint32_t value;
  syscall(SYS_getrandom, &value, sizeof value, 0);
  return value;
}
END
musl-gcc -shared -fPIC -o libstdc++.so.6 -Wl,-soname,libstdc++.so.6 glibc.c @flags \
  "$gcc/libstdc++_pic.a" "$gcc/libgcc_eh.a" "$gcc/libgcc.a"
ln -sf "/lib/ld-musl-$(uname -m).so.1" "libc.musl-$(uname -m).so.1"
# Not LD_LIBRARY_PATH, which the tests' children would inherit.
patchelf --set-rpath "$folder" bun
