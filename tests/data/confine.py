"""Runs a program as a container engine does: confine.py PROFILE ROOT USER PROGRAM [ARGUMENT...].

Under a profile such as packaging/container/seccomp.json, in another root directory, as the user of this number. For tests: it knows x86-64
only, and takes the numbers of system calls from the kernel's header.
"""

import ctypes
import json
import os
import re
import struct
import sys

HEADER = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, EPERM = 0x7FFF0000, 0x00050000 | 1

profile, root, user, program, *arguments = sys.argv[1:]
with open(HEADER) as header:
    numbers = dict(re.findall(r"#define __NR_(\w+) (\d+)", header.read()))
with open(profile) as file:
    rules = json.load(file)
assert rules["defaultAction"] == "SCMP_ACT_ERRNO"
names = [name for rule in rules["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]]
# Names of other architectures have no number here.
allowed = sorted(int(numbers[name]) for name in names if name in numbers)
code = [(LOAD, 0, 0, 0)]
for number in allowed:
    code += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ALLOW)]
code.append((RETURN, 0, 0, EPERM))
text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in code))


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


os.chroot(root)
os.chdir("/var/lib/torc")
os.setgroups([])
os.setgid(int(user))
os.setuid(int(user))
libc = ctypes.CDLL(None, use_errno=True)
loaded = Filter(len(code), ctypes.addressof(text))
for call in [(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(loaded), 0, 0)]:
    if libc.prctl(*call) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execv(program, [program, *arguments])
