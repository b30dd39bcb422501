"""OpenSSH's own sshd for the tests: one of an ordinary user, and one on a machine's worth of namespaces, set up by setup_sftp.sh."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from conftest import PROJECT
from needs import AS_ROOT, missing, need_programs, need_root

SSHD = "/usr/sbin/sshd"
# Whom the jobs run as on the machine: who runs the tests, unless that is root.
JOB_USER = "etl_user" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name

# What it changes of /etc, /srv and the like is its own, and so are its processes; with its input all of it ends.
MACHINE = """
set -e
read -r pid _ </proc/self/stat
mount -t tmpfs none "$1"
for place in $3; do
  mkdir -p "$1$place/upper" "$1$place/work"
  mount -t overlay overlay -o "lowerdir=$place,upperdir=$1$place/upper,workdir=$1$place/work" "$place"
done
mount -t tmpfs -o mode=755 none /run
mount -t proc proc /proc
rm -f /etc/sudoers.d/*
getent passwd "$2" >/dev/null || useradd --system --user-group "$2"
ssh-keygen -A >/dev/null
echo "$pid"
read -r _ || true
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, daemon: "subprocess.Popen[str]") -> None:
    """Return when something listens at the port."""
    deadline = time.monotonic() + 20
    while True:
        assert daemon.poll() is None, "sshd ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < deadline, "sshd does not listen"
        time.sleep(0.02)


def make_key(file: Path, *options: str) -> Path:
    """Make a key pair and return the private part's path."""
    command = ["ssh-keygen", "-q", "-N", "", "-C", "a client", "-f", str(file), *(options or ("-t", "ed25519"))]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return file


# ---- an ordinary user's ------------------------------------------------------------------------


class Server:
    """An sshd that lets in who runs the tests, with one key; `subsystem` is what it calls SFTP."""

    def __init__(self, folder: Path, subsystem: str = "internal-sftp") -> None:
        self.subsystem = subsystem
        self.folder, self.port = folder, free_port()
        self.key = make_key(folder / "login")
        self.host_key = make_key(folder / "host")
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self._daemon: subprocess.Popen[str] | None = None

    @property
    def known_host(self) -> str:
        """The line for known_hosts."""
        return f"[127.0.0.1]:{self.port} {self.host_key.with_suffix('.pub').read_text()}"

    def start(self) -> None:
        configuration = self.folder / "sshd_config"
        configuration.write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {self.host_key}\nAuthorizedKeysFile {self.key}.pub\n"
            "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
            f"Subsystem sftp {self.subsystem}\n"
        )
        command = [SSHD, "-D", "-e", "-f", str(configuration)]
        if os.geteuid() == 0:
            # As root it wants an empty directory of its own.
            script = 'mount -t tmpfs none /run && mkdir /run/sshd && exec "$@"'
            command = ["unshare", "--mount", "/bin/bash", "-c", script, "sshd", *command]
        with (self.folder / "sshd.log").open("a") as log:
            self._daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log, text=True)
        wait_for(self.port, self._daemon)

    def stop(self) -> None:
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.wait(10)
            self._daemon = None


@contextlib.contextmanager
def running_server(folder: Path, subsystem: str = "internal-sftp") -> Iterator[Server]:
    if not os.access(SSHD, os.X_OK):
        missing("there is no sshd", "openssh-server")
    folder.mkdir(parents=True, exist_ok=True)
    server = Server(folder, subsystem)
    server.start()
    try:
        yield server
    finally:
        server.stop()


# ---- a machine ---------------------------------------------------------------------------------


class Machine:
    """A machine as root sees it, and as the clients do once setup_sftp.sh has been run there."""

    def __init__(self, pid: str, folder: Path) -> None:
        self.pid, self.folder, self.port = pid, folder, free_port()
        self.known_hosts = folder / "known_hosts"
        self.daemon: subprocess.Popen[str] | None = None

    def enter(self, *command: str) -> list[str]:
        return [*AS_ROOT, "nsenter", "-t", self.pid, "-m", "-p", "--", *command]

    def root(self, *command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a command as root of the machine."""
        environment = [
            f"{name}={value}" for name, value in {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **variables}.items()
        ]
        return subprocess.run(
            self.enter("env", "-i", *environment, *command),
            capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def as_job(self, *command: str) -> list[str]:
        """Return the command by which the job user runs this, with the groups that it has now."""
        return self.enter("setpriv", f"--reuid={JOB_USER}", f"--regid={JOB_USER}", "--init-groups", *command)

    def setup(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        script = str(PROJECT / "onboarding/sh/setup_sftp.sh")
        return self.root("/bin/bash", script, *arguments, **{"ETL_CRON_USER": JOB_USER, **variables})

    def state(self) -> str:
        """Return all that the script may change: names, owners, modes and contents."""
        places = "/etc/passwd /etc/shadow /etc/group /etc/gshadow /etc/ssh /etc/sudoers.d /srv /usr/local/lib"
        script = f"find {places} -printf '%p %u %g %m %l\\n' | sort; find {places} -type f -print0 | sort -z | xargs -0 sha256sum"
        return self.root("/bin/bash", "-c", script).stdout

    def add(self, client: str) -> Path:
        """Add a client with a new key, and return the key."""
        key = make_key(self.folder / client)
        added = self.setup("add", client, "--key", f"{key}.pub")
        assert added.returncode == 0, added.stderr
        return key

    def start_sshd(self) -> None:
        self.daemon = subprocess.Popen(
            self.enter(SSHD, "-D", "-e", "-o", f"Port={self.port}", "-o", "ListenAddress=127.0.0.1"),
            stdin=subprocess.DEVNULL, stderr=(self.folder / "sshd.log").open("w"), text=True,
        )  # fmt: skip
        wait_for(self.port, self.daemon)
        host_key = self.root("cat", "/etc/ssh/ssh_host_ed25519_key.pub").stdout
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {host_key}")

    def options(self, client: str) -> list[str]:
        wanted = {
            "Port": str(self.port), "User": f"sftp_{client}", "IdentityFile": str(self.folder / client),
            "IdentitiesOnly": "yes", "IdentityAgent": "none", "BatchMode": "yes", "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(self.known_hosts), "LogLevel": "ERROR",
        }  # fmt: skip
        return ["-F", "none", *(word for name, value in wanted.items() for word in ("-o", f"{name}={value}"))]

    def sftp(self, client: str, *commands: str) -> "subprocess.CompletedProcess[str]":
        """Let a client type these at the sftp program, which ends at the first that fails."""
        return subprocess.run(
            ["sftp", *self.options(client), "-b", "-", "127.0.0.1"],
            input="\n".join(commands) + "\n", capture_output=True, text=True, check=False, timeout=30, cwd=self.folder,
        )  # fmt: skip

    def ssh(self, client: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["ssh", *self.options(client), *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=20,
        )  # fmt: skip


@contextlib.contextmanager
def running_machine(folder: Path, job_user: str = JOB_USER, more_places: str = "") -> Iterator[Machine]:
    """Yield a machine without clients, on which these places are its own too; skip where nobody may make one."""
    need_programs("sshd", "sftp", "visudo")
    need_root()
    scratch = folder / "overlay"
    scratch.mkdir()
    command = [*AS_ROOT, "unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/bash", "-c", MACHINE, "machine"]
    holder = subprocess.Popen(
        [*command, str(scratch), job_user, f"/etc /srv /usr/local/lib /usr/local/bin {more_places}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    pid = holder.stdout.readline().strip()
    try:
        if not pid:
            missing(f"no namespaces can be had here: {holder.communicate()[1].strip()}", "namespaces")
        yield Machine(pid, folder)
    finally:
        holder.communicate(timeout=30)
        shutil.rmtree(scratch, ignore_errors=True)
