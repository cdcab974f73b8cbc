"""Opens sockets as a service manager does, and becomes a program that takes them over.

activate.py UNIX-SOCKET PORTS-FILE NAMES PROGRAM ARGUMENT...: the ports of the two TCP sockets go to the file; the Unix socket is the
second of the three. NAMES are those that the program is told, with colons between them.
"""

import fcntl
import os
import socket
import sys

FIRST = 3

path, ports, names, *command = sys.argv[1:]
first, second = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
with open(ports, "w") as file:
    file.write(f"{first.getsockname()[1]} {second.getsockname()[1]}")
# Last: whoever waits for the start may connect from here on.
unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
unix.bind(path)
unix.listen(100)
# Out of the way first of the numbers that they are to have.
high = [fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 100) for s in (first, unix, second)]
for number, descriptor in enumerate(high):
    os.dup2(descriptor, FIRST + number)
    os.close(descriptor)
os.environ.update(LISTEN_FDS=str(len(high)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=names)
os.execvp(command[0], command)
