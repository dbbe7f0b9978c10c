"""Several tenants started as one, and ended as one.

Every tenant is forked, waits at a gate, and becomes its program only when all of them have joined
the session: either all start or none does. Whoever started them is not needed afterwards; if it is
killed, its tenants go on, and so do the pumps that carry their output.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fico import _native
from fico.runtime.errors import FicoError
from fico.runtime.gpus import EMULATED
from fico.runtime.lock import sessions_locked
from fico.runtime.program import Program
from fico.runtime.pump import close_others, fork_pump, new_lock
from fico.runtime.session import Session, abandon_session, ensure_session
from fico.runtime.tenant import (
    Membership,
    TenantSpec,
    check_startable,
    execute,
    join,
    prepare_profile,
    tenant_environment,
)

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WATCHED = (signal.SIGCHLD, *_STOPS)
_ESCALATION = ((signal.SIGINT, 5.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
_OUTPUT_WITHIN_S = 1.0
_LONGEST_REASON_BYTES = 256


@dataclass
class _Tenant:
    """A tenant from its fork to its end."""

    spec: TenantSpec
    program: Program
    pid: int = 0
    gate: int = -1
    """Write end of the pipe that lets it become its program."""
    verdict: int = -1
    """Read end of the pipe that says why it didn't."""
    output: tuple[int, int] = (-1, -1)
    """Read ends of its standard output and standard error."""
    member: Membership | None = None
    code: int | None = None


@dataclass
class Launch:
    """One launch. `run` blocks the signals that it watches, so it belongs to the main thread."""

    specs: Sequence[TenantSpec]
    selector: str
    policy: str | None
    settings: Mapping[str, float] | None
    """Of the policy; None: whatever it has."""
    prefixes: Callable[[Sequence[str]], Sequence[bytes]]
    """Gives what stands before each tenant's lines, from the names of all."""
    report: Callable[[str], None]
    """Takes a line for the person who looks on."""
    _tenants: list[_Tenant] = field(default_factory=list)
    _pumps: set[int] = field(default_factory=set)
    _first_failure: int = 0

    def run(self) -> int:
        """Start all, wait for all; gives the first exit code that isn't 0, 128 + N for signal N.

        FicoError if one of them can't start, and then none is left.
        """
        for spec in self.specs:
            with _errors_of(spec):
                program = check_startable(spec, self.selector == EMULATED)
            self._tenants.append(_Tenant(spec, program))
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:
            return self._supervise(self._start())
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)

    def _start(self) -> Session:
        with sessions_locked():
            session, arena, started = ensure_session(self.selector, self.policy, self.settings)
            try:
                # Not before: MPS would inherit the mask and be deaf to SIGTERM.
                signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
                for tenant in self._tenants:
                    _fork(tenant, session)
                for tenant in self._tenants:
                    with _errors_of(tenant.spec):
                        prepare_profile(session, tenant.spec, tenant.pid, self.report)
                        tenant.member = join(arena, tenant.spec, tenant.pid)
                self._start_pumps()
                for tenant in self._tenants:
                    _open_gate(tenant)
                for tenant in self._tenants:
                    with _errors_of(tenant.spec):
                        _await_program(tenant)
            except BaseException:
                self._undo(session, arena, started)
                raise
        return session

    def _start_pumps(self) -> None:
        names = [tenant.member.name for tenant in self._tenants if tenant.member is not None]
        lock = new_lock()
        for tenant, prefix in zip(self._tenants, self.prefixes(names), strict=True):
            out, err = tenant.output
            self._pumps.add(fork_pump(prefix, {out: 1, err: 2}, lock))
        os.close(lock)
        for tenant in self._tenants:
            for descriptor in tenant.output:
                os.close(descriptor)

    def _undo(self, session: Session, arena: _native.Arena, started: bool) -> None:
        for tenant in self._tenants:
            if tenant.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(tenant.pid, signal.SIGKILL)
                os.waitpid(tenant.pid, 0)
            if tenant.member is not None:
                arena.leave(tenant.member.slot, tenant.member.generation)
        if started:
            abandon_session(session)

    def _supervise(self, session: Session) -> int:
        step, deadline = 0, None
        while any(tenant.code is None for tenant in self._tenants):
            number = _next_signal(deadline)
            if number == signal.SIGCHLD:
                self._reap()
                continue
            # A stop was asked for, asked for again, or not obeyed in time.
            kind, patience_s = _ESCALATION[min(step, len(_ESCALATION) - 1)]
            self._send(kind, session)
            step += 1
            deadline = time.monotonic() + patience_s
        deadline = time.monotonic() + _OUTPUT_WITHIN_S
        while self._pumps and time.monotonic() < deadline:
            # A process that a tenant left behind may keep its output open: that is not waited for.
            if _next_signal(deadline) == signal.SIGCHLD:
                self._reap()
        return self._first_failure

    def _send(self, kind: signal.Signals, session: Session) -> None:
        running = [tenant for tenant in self._tenants if tenant.code is None]
        names = ", ".join(t.member.name for t in running if t.member is not None)
        self.report(f"{kind.name} to {names}")
        if kind == signal.SIGKILL and session.mps is not None:
            session.mps.terminate_clients({tenant.pid for tenant in running})
        for tenant in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(tenant.pid, kind)

    def _reap(self) -> None:
        """Take note of every child that has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._pumps.discard(pid)
            for tenant in self._tenants:
                if tenant.pid == pid and tenant.member is not None:
                    self._ended(tenant, tenant.member.name, os.waitstatus_to_exitcode(status))

    def _ended(self, tenant: _Tenant, name: str, code: int) -> None:
        tenant.code = code if code >= 0 else 128 - code
        self._first_failure = self._first_failure or tenant.code
        if code > 0:
            self.report(f"{name} ended with exit code {code}")
        elif code < 0:
            self.report(f"{name} was ended by {signal.Signals(-code).name}")


def _next_signal(deadline: float | None) -> int | None:
    """The next of the watched signals, or None when the time (of time.monotonic) has come."""
    if deadline is None:
        return signal.sigwait(_WATCHED)
    found = signal.sigtimedwait(_WATCHED, max(0.0, deadline - time.monotonic()))
    return found.si_signo if found is not None else None


@contextlib.contextmanager
def _errors_of(spec: TenantSpec) -> Iterator[None]:
    """Let an error say whose it is."""
    try:
        yield
    except FicoError as error:
        who = spec.name or " ".join(spec.command)
        raise type(error)(f"tenant {who!r}: {error.message}", error.remedy) from None


def _fork(tenant: _Tenant, session: Session) -> None:
    """Start the process that will be the tenant; it waits at its gate."""
    gate_read, gate = os.pipe()
    verdict, verdict_write = os.pipe()
    out_read, out = os.pipe()
    err_read, err = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _become(tenant, session, gate_read, verdict_write, (out, err))
        finally:
            os._exit(1)
    with contextlib.suppress(OSError):  # the child does it too, whoever comes first
        os.setpgid(pid, pid)
    for descriptor in (gate_read, verdict_write, out, err):
        os.close(descriptor)
    tenant.pid, tenant.gate, tenant.verdict = pid, gate, verdict
    tenant.output = (out_read, err_read)


def _become(
    tenant: _Tenant, session: Session, gate: int, verdict: int, output: tuple[int, int]
) -> None:
    """In the child: wait for the word, then be the program. Comes back only by not being let in."""
    try:
        os.setpgid(0, 0)  # the terminal's Ctrl-C is for the launcher alone, which passes it on once
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor, standard in ((nothing, 0), (output[0], 1), (output[1], 2)):
            os.dup2(descriptor, standard)
        close_others({0, 1, 2, gate, verdict})
        word = os.read(gate, 64)
        if not word:
            return  # the launcher has given up or was killed
        slot, generation = map(int, word.split(b":"))
        if tenant.spec.folder is not None:
            os.chdir(tenant.spec.folder)
        for number in _STOPS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        member = Membership("", slot, generation)
        environment = tenant_environment(session, member, tenant.spec, os.environ)
        execute(tenant.program, tenant.spec, environment)
    except BaseException as error:
        reason = getattr(error, "strerror", None) or repr(error)
        os.write(verdict, reason.encode()[:_LONGEST_REASON_BYTES])


def _open_gate(tenant: _Tenant) -> None:
    assert tenant.member is not None
    with contextlib.suppress(BrokenPipeError):  # it was killed: its verdict is empty, its end seen
        os.write(tenant.gate, f"{tenant.member.slot}:{tenant.member.generation}".encode())
    os.close(tenant.gate)


def _await_program(tenant: _Tenant) -> None:
    """Return when the process has become its program. FicoError if the system refused that."""
    refusal = os.read(tenant.verdict, _LONGEST_REASON_BYTES)
    os.close(tenant.verdict)
    if refusal:
        reason = refusal.decode(errors="replace")
        raise FicoError(f"{tenant.program.path} cannot be run: {reason}")
