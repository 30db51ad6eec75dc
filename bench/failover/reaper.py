"""Runs a command as its child and reaps every orphan below it at once.

In front of each Patroni node: where PID 1 of a machine reaps late, a dead postmaster stays a zombie, which supervisors
take for alive. SIGTERM and SIGINT go on to the command.
"""
import ctypes
import os
import signal
import sys

PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
child = os.fork()
if child == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda n, _: os.kill(child, n))
while True:
    try:
        pid, status = os.wait()
    except InterruptedError:
        continue
    except ChildProcessError:
        break
    if pid == child:
        sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)
