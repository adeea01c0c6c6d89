"""A child process that serves. It is ended by its id, at the latest when this process ends."""

import atexit
import os
import signal
import subprocess
import tempfile

from support.deadline import until


class Server:
    """Starts the command; `options` are those of `Popen`."""

    def __init__(self, command, **options):
        self._output = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT, **options)
        atexit.register(self.kill)

    @property
    def pid(self):
        return self._process.pid

    @property
    def output(self):
        """Everything that it has written."""
        # The child writes at this file's position, which must not move.
        return os.pread(self._output.fileno(), 1 << 20, 0).decode(errors="replace")

    @property
    def exit_code(self):
        """None while it runs."""
        return self._process.poll()

    def await_ready(self, is_ready, seconds=60):
        """Waits for the condition, and fails with the output if the process ends first."""
        until("the server is ready", lambda: self.exit_code is not None or is_ready(), seconds, lambda: self.output)
        if self.exit_code is not None:
            raise AssertionError(f"the server ended with {self.exit_code}: {self.output}")

    def terminate(self):
        """Asks it to stop, and does not wait for that."""
        self._process.send_signal(signal.SIGTERM)

    def await_end(self, seconds):
        """Its exit code."""
        until("the server ends", lambda: self.exit_code is not None, seconds, lambda: self.output)
        return self.exit_code

    def kill(self):
        """Ends it without a chance to close anything. May be called again."""
        atexit.unregister(self.kill)
        if self._output.closed:
            return
        self._process.kill()
        self._process.wait()
        self._output.close()
