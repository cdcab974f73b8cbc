#!/usr/bin/env python3
"""usage: deny.py NUMBER ERROR PROGRAM [ARGUMENT...]: runs a program to which the kernel answers ERROR (EPERM, ENOSYS) instead of
doing system call NUMBER, as the profile of a container may have it."""
import ctypes
import errno
import os
import struct
import sys

number, error = int(sys.argv[1]), getattr(errno, sys.argv[2])
# Loads the number; if it is this one, returns the error; else allows the call.
code = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | error), (0x06, 0, 0, 0x7FFF0000)]
text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in code))


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


libc = ctypes.CDLL(None, use_errno=True)
program = Program(len(code), ctypes.addressof(text))
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
for arguments in [(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)]:
    if libc.prctl(*arguments) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[3], sys.argv[3:])
