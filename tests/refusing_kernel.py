"""A kernel that refuses system calls, as it does on some file systems; for a process of its own."""

import ctypes
import platform
import struct

_X86 = {'flock': 73, 'rmdir': 84, 'unlinkat': 263}
_ARM = {'flock': 32, 'unlinkat': 35}
NUMBERS = {'x86_64': _X86, 'aarch64': _ARM}.get(platform.machine(), {})

# From <linux/prctl.h>, <linux/seccomp.h> and <linux/bpf_common.h>.
NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2
LOAD, JUMP_IF_EQUAL, RETURN, ALLOW, ERROR = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050000


def refuse(error: int, *calls: str) -> None:
  """From now on, these calls fail with this error in this process; there is no way back."""
  numbers = [NUMBERS[call] for call in calls if call in NUMBERS]
  lines = [(LOAD, 0, 0, 0)]
  for left, number in zip(range(len(numbers), 0, -1), numbers, strict=True):
    lines.append((JUMP_IF_EQUAL, left, 0, number))
  lines += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, ERROR | error)]
  code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *line) for line in lines))
  program = struct.pack('HxxxxxxP', len(lines), ctypes.addressof(code))
  prctl = ctypes.CDLL(None, use_errno=True).prctl
  if prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) or prctl(SECCOMP, FILTER, program):
    raise OSError(ctypes.get_errno(), 'seccomp')
