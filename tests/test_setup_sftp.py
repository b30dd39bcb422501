"""setup_sftp.sh on a machine of its own: what it makes, what it refuses, and what a client can and cannot do then."""

import contextlib
import os
import re
import select
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
from conftest import PROJECT
from ssh_server import JOB_USER, Machine, free_port, make_key, running_machine

pytestmark = pytest.mark.slow

ROOT = "/srv/sftp"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with the clients acme and beta, and sshd running."""
    with running_machine(tmp_path_factory.mktemp("machine")) as made:
        for client in ("acme", "beta"):
            made.add(client)
        made.start_sshd()
        yield made


@pytest.fixture
def upload(machine: Machine) -> Path:
    file = machine.folder / "list.csv"
    file.write_text("a,b\n1,2\n")
    return file


# ---- what a client can do, and cannot ----------------------------------------------------------


def test_a_client_puts_a_file_and_sees_its_two_folders_only(machine: Machine, upload: Path):
    done = machine.sftp("acme", f"put {upload} incoming/seen.csv", "ls -1 /", "ls -1 /incoming", "rm incoming/seen.csv")

    assert done.returncode == 0, done.stderr
    listed = [line.split()[-1] for line in done.stdout.splitlines() if not line.startswith(("sftp>", "Removing"))]
    assert {"/incoming", "/outgoing", "/incoming/seen.csv"} == set(listed)


def told(machine: Machine, client: str, *commands: str) -> dict[str, str]:
    """Let a client type these in one session, which goes on after those that fail; return what it was told at each."""
    typed = [f"-{command}" for command in commands]
    session = subprocess.run(
        ["sftp", *machine.options(client), "-b", "-", "127.0.0.1"],
        input="\n".join(typed) + "\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True, timeout=30,
        cwd=machine.folder,
    )  # fmt: skip
    answers = [part.partition("\n") for part in session.stdout.split("sftp> ")[1:]]
    assert [command for command, _, _ in answers] == typed
    return dict(zip(commands, (answer for _, _, answer in answers), strict=True))


REFUSED = re.compile("Permission denied|not found|No such file|Failure|Bad message|Operation unsupported")
FORBIDDEN = """\
ls /srv/sftp/sftp_beta
ls ../sftp_beta
ls /../../sftp_beta/incoming
get /etc/passwd
get incoming/../../../../etc/passwd
put list.csv /here.csv
put list.csv outgoing/here.csv
put list.csv incoming/../../up.csv
mkdir /new
rmdir incoming
rename incoming old
rename outgoing incoming/x
chmod 777 incoming
chmod 777 outgoing
chmod 777 /
chown 0 incoming
ln /etc/passwd incoming/p.csv
"""


@pytest.mark.usefixtures("upload")
def test_a_client_cannot(machine: Machine):
    before = machine.root("find", ROOT, "-printf", "%p %u %g %m\n").stdout

    answers = told(machine, "acme", *FORBIDDEN.splitlines())

    assert {command: answer for command, answer in answers.items() if not REFUSED.search(answer)} == {}
    assert machine.root("find", ROOT, "-printf", "%p %u %g %m\n").stdout == before
    assert not (machine.folder / "passwd").exists()


WAYS_OUT = ("/etc/passwd", "/srv/sftp/sftp_beta/incoming", "../../sftp_beta/incoming")


def test_a_link_leads_no_client_out_of_its_folder(machine: Machine):
    for number, target in enumerate(WAYS_OUT):
        out = f"incoming/way_out{number}"
        through = (f"get {out} stolen", f"ls {out}/", f"put {machine.folder}/acme.pub {out}/by_acme")

        answers = told(machine, "acme", f"symlink {target} {out}", f"ls -l {out}", *through, f"rm {out}")

        assert "way_out" in answers[f"ls -l {out}"]
        assert [answers[way] for way in through if not REFUSED.search(answers[way])] == []
        assert not (machine.folder / "stolen").exists()


def test_no_client_has_rights_on_anothers_folder_even_without_the_chroot(machine: Machine):
    for command in ("ls", "find"):
        shown = machine.root(
            "setpriv", "--reuid=sftp_acme", "--regid=sftp_acme", "--init-groups", command, f"{ROOT}/sftp_beta/incoming"
        )
        assert shown.returncode != 0
        assert "Permission denied" in shown.stderr


@pytest.mark.parametrize(
    "command", [[], ["id"], ["touch /incoming/by_command"], ["/bin/sh", "-c", "id"], ["scp -t /incoming"]]
)
def test_a_client_gets_no_shell_and_no_command(machine: Machine, command: list[str]):
    tried = machine.ssh("acme", "-tt", "127.0.0.1", *command)

    assert tried.stdout.strip() in ("", "This service allows sftp connections only.")
    assert tried.returncode != 0
    assert machine.root("test", "-e", f"{ROOT}/sftp_acme/incoming/by_command").returncode != 0


@pytest.mark.parametrize("kind", ["-W", "-L", "-D", "-R"])
def test_a_client_can_forward_nothing(machine: Machine, kind: str):
    with socket.create_server(("127.0.0.1", 0)) as inner:
        target, entry = f"127.0.0.1:{inner.getsockname()[1]}", free_port()
        if kind == "-W":
            assert machine.ssh("acme", "-W", target, "127.0.0.1").returncode != 0
        elif kind == "-R":
            options = ["-o", "ExitOnForwardFailure=yes", "-N", "-R", f"{entry}:{target}"]
            assert machine.ssh("acme", *options, "127.0.0.1").returncode != 0
        else:
            go_through(machine, kind, entry, target)
        # Who had got through would stand in the queue.
        assert select.select([inner], [], [], 0)[0] == []


def go_through(machine: Machine, kind: str, entry: int, target: str) -> None:
    """Connect to the near end of a forwarding, which ssh opens without asking, and see that nothing comes through."""
    where = f"127.0.0.1:{entry}" + (f":{target}" if kind == "-L" else "")
    control = machine.folder / f"control{kind}"
    master = ["-f", "-N", "-M", "-S", str(control), "-o", "ExitOnForwardFailure=yes", kind, where, "127.0.0.1"]
    assert machine.ssh("acme", *master).returncode == 0
    try:
        with socket.create_connection(("127.0.0.1", entry), 10) as near:
            if kind == "-D":
                host, port = target.split(":")
                near.sendall(
                    b"\x05\x01\x00" + b"\x05\x01\x00\x01" + socket.inet_aton(host) + int(port).to_bytes(2, "big")
                )
            received = b""
            while chunk := near.recv(100):
                received += chunk
        assert received[2:4] != b"\x05\x00"
    finally:
        machine.ssh("acme", "-S", str(control), "-O", "exit", "127.0.0.1")


def test_a_password_is_not_even_asked_for(machine: Machine):
    tried = machine.ssh("acme", "-v", "-o", "PubkeyAuthentication=no", "-o", "LogLevel=DEBUG1", "127.0.0.1")

    assert tried.returncode == 255
    assert "can continue: publickey\n" in tried.stderr.replace("\r", "")


def test_a_clients_key_does_not_open_another_clients_folder(machine: Machine):
    options = [*machine.options("acme")]
    options[options.index("User=sftp_acme")] = "User=sftp_beta"
    tried = subprocess.run(
        ["sftp", *options, "-b", "/dev/null", "127.0.0.1"], capture_output=True, text=True, check=False
    )

    assert tried.returncode != 0
    assert "Permission denied (publickey)" in tried.stderr


# ---- what the script does ----------------------------------------------------------------------


def test_run_again_it_changes_nothing_and_a_dry_run_never_does(machine: Machine):
    before = machine.state()
    again = machine.setup("add", "acme", "--key", f"{machine.folder / 'acme'}.pub")
    new = machine.setup("add", "gamma", "--key", f"{machine.folder / 'acme'}.pub", "--dry-run")
    gone = machine.setup("remove", "acme", "--dry-run")

    assert (again.returncode, new.returncode, gone.returncode) == (0, 0, 0), again.stderr + new.stderr + gone.stderr
    assert again.stdout.lstrip().startswith("acme can now")
    assert re.search("would make .*sftp_gamma", new.stdout)
    assert re.search("would delete .*sftp_acme", gone.stdout)
    assert machine.state() == before


def test_the_account_has_no_password_no_shell_and_the_folders_the_modes_that_are_promised(machine: Machine):
    password = machine.root("getent", "shadow", "sftp_acme").stdout.split(":")[1]
    home, shell = machine.root("getent", "passwd", "sftp_acme").stdout.strip().split(":")[5:]
    modes = machine.root("find", f"{ROOT}/sftp_acme", "-maxdepth", "1", "-printf", "%f %u:%g %m\n").stdout.splitlines()

    assert (password, home, shell) == ("*", "/", "/usr/sbin/nologin")
    assert sorted(modes) == [
        "incoming root:sftp_acme 2770", f"outgoing {JOB_USER}:sftp_acme 2750", "sftp_acme root:root 755",
    ]  # fmt: skip
    assert machine.root("cat", "/etc/ssh/etl_sftp_keys/sftp_acme").stdout.startswith("restrict ssh-ed25519 ")


def test_the_job_user_may_run_one_command_as_the_client_and_nothing_else(machine: Machine):
    helper = "/usr/local/lib/client_etl_workflow/sftp_release"
    allowed = [helper, f"{ROOT}/sftp_acme/incoming"]
    tries = {
        "the command": (["-u", "sftp_acme", *allowed], 0),
        "as root": (allowed, 1),
        "another folder": (["-u", "sftp_acme", helper, f"{ROOT}/sftp_beta/incoming"], 1),
        "another client": (["-u", "sftp_beta", *allowed], 1),
        "one argument more": (["-u", "sftp_acme", *allowed, "x"], 1),
        "another program": (["-u", "sftp_acme", "/bin/cat", "/etc/hostname"], 1),
    }
    for what, (arguments, expected) in tries.items():
        ended = subprocess.run(machine.as_job("sudo", "-n", *arguments), capture_output=True, text=True, check=False)
        assert ended.returncode == expected, f"{what}: {ended.stderr}"


def test_list_shows_clients_keys_and_waiting_files(machine: Machine, upload: Path):
    machine.sftp("beta", f"put {upload} incoming/one.csv", f"put {upload} incoming/two.csv")
    shown = machine.setup("list")
    machine.sftp("beta", "rm incoming/*")

    fingerprint = subprocess.run(
        ["ssh-keygen", "-l", "-f", f"{machine.folder / 'beta'}.pub"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    assert re.search("beta: .*sftp_beta, .*/srv/sftp/sftp_beta, .*: 2$", shown.stdout, re.MULTILINE)
    assert fingerprint in shown.stdout


def test_list_works_where_there_is_nothing_to_list(machine: Machine):
    moved = machine.setup("list", ETL_SFTP_ROOT="/srv/elsewhere")
    machine.root("groupmod", "-n", "etl_hidden", "etl_sftp")
    none = machine.setup("list")
    machine.root("groupmod", "-n", "etl_sftp", "etl_hidden")

    assert re.search("/srv/elsewhere/sftp_acme, .*not there", moved.stdout)
    assert (none.returncode, none.stdout) == (0, "there are no clients\n")


def test_remove_ends_the_access_and_keeps_the_files(machine: Machine, upload: Path):
    machine.add("leaver")
    machine.sftp("leaver", f"put {upload} incoming/left.csv")
    removed = machine.setup("remove", "leaver")

    assert removed.returncode == 0, removed.stderr
    kept = next(line for line in removed.stdout.splitlines() if line.startswith("keep the files")).split()[-1]
    assert machine.root("cat", f"{kept}/incoming/left.csv").stdout == "a,b\n1,2\n"
    assert machine.sftp("leaver", "ls").returncode != 0
    assert "leaver" not in machine.state().replace(f"{kept}", "")
    assert machine.setup("remove", "leaver").returncode == 1


def test_remove_ends_a_session_that_is_open(machine: Machine):
    key = machine.add("guest")
    client = paramiko.SSHClient()
    client.load_host_keys(str(machine.known_hosts))
    client.connect("127.0.0.1", machine.port, "sftp_guest", key_filename=str(key), allow_agent=False)
    with contextlib.closing(client), client.open_sftp() as sftp:
        assert sorted(sftp.listdir("/")) == ["incoming", "outgoing"]
        removed = machine.setup("remove", "guest")
        with pytest.raises((OSError, EOFError)):
            sftp.listdir("/")

    assert removed.returncode == 0, removed.stderr


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "has no key in it"),
        ("# nothing\n\n", "has no key in it"),
        ("hello\n", "line 1: not a public key"),
        ('command="/bin/sh" ssh-ed25519 AAAA\n', "line 1: not a public key"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA\n", "does not know this as a key"),
        ("ssh-dss AAAAB3NzaC1kc3MAAACBAP\n", "line 1: not a public key"),
        ("-----BEGIN OPENSSH " + "PRIVATE KEY-----\nb3Bl\n", "is a private key"),
    ],
)
def test_a_file_that_holds_no_good_public_key_is_refused(machine: Machine, tmp_path: Path, content: str, told: str):
    (tmp_path / "key").write_text(content)
    before = machine.state()
    refused = machine.setup("add", "gamma", "--key", str(tmp_path / "key"))

    assert refused.returncode == 64
    assert told in refused.stderr
    assert machine.state() == before


def test_a_weak_key_is_refused(machine: Machine, tmp_path: Path):
    make_key(tmp_path / "weak", "-t", "rsa", "-b", "1024")
    refused = machine.setup("add", "gamma", "--key", str(tmp_path / "weak.pub"))

    assert refused.returncode == 64
    assert "1024 bits" in refused.stderr


@pytest.mark.parametrize("name", ["", "Acme", "-x", "a b", "a/b", "../x", "a.b", "x" * 22, "1a", "a;id", "a\nb"])
def test_a_name_that_is_none_is_refused(machine: Machine, name: str):
    assert machine.setup("add", name, "--key", f"{machine.folder / 'acme'}.pub").returncode == 64


def test_a_place_that_others_can_write_to_is_refused(machine: Machine):
    before = machine.state()
    refused = machine.setup("add", "gamma", "--key", f"{machine.folder / 'acme'}.pub", ETL_SFTP_ROOT="/tmp/sftp")

    assert refused.returncode == 1
    assert "/tmp can be written" in refused.stderr
    assert machine.state() == before


def test_clients_are_all_in_one_place_which_need_not_be_said_again(machine: Machine):
    before = machine.state()
    key = f"{machine.folder / 'acme'}.pub"
    moved = machine.setup("add", "acme", "--key", key, ETL_SFTP_ROOT="/srv/elsewhere")
    gone = machine.setup("remove", "acme", ETL_SFTP_ROOT="/srv/elsewhere")
    rules = "/etc/ssh/sshd_config.d/etl_sftp.conf"
    machine.root("sed", "-i.kept", "s|/srv/sftp/%u|/srv/other/%u|", rules)
    remembered = machine.setup("add", "gamma", "--key", key, "--dry-run")
    machine.root("mv", f"{rules}.kept", rules)

    assert (moved.returncode, gone.returncode) == (1, 1)
    assert re.search("ETL_SFTP_ROOT is /srv/elsewhere, .* /srv/sftp:", moved.stderr)
    assert "would make /srv/other/sftp_gamma " in remembered.stdout
    assert machine.state() == before


def test_rules_that_sshd_refuses_are_taken_back(machine: Machine):
    rules = "/etc/ssh/sshd_config.d/etl_sftp.conf"
    in_force = machine.root("cat", rules).stdout
    machine.root("/bin/bash", "-c", f"echo '# older' >> {rules}; echo Nonsense yes > /etc/ssh/sshd_config.d/zz.conf")
    refused = machine.setup("add", "acme", "--key", f"{machine.folder / 'acme'}.pub")
    left = machine.root("cat", rules).stdout
    machine.root("/bin/bash", "-c", f"rm /etc/ssh/sshd_config.d/zz.conf; sed -i '$d' {rules}")

    assert refused.returncode == 1
    assert "sshd does not accept" in refused.stderr
    assert left == in_force + "# older\n"
    assert machine.root("cat", rules).stdout == in_force


def test_a_rule_of_another_file_that_weakens_the_clients_is_found(machine: Machine):
    weak = "/etc/ssh/sshd_config.d/00_weak.conf"
    machine.root("/bin/bash", "-c", f"printf 'Match User sftp_acme\\n  PermitTTY yes\\nMatch all\\n' > {weak}")
    found = machine.setup("add", "acme", "--key", f"{machine.folder / 'acme'}.pub")
    machine.root("rm", weak)

    assert found.returncode == 1
    assert 'has not "permittty no"' in found.stderr


def test_it_wants_root(tmp_path: Path):
    command = ["/bin/bash", str(PROJECT / "onboarding/sh/setup_sftp.sh"), "list"]
    if os.geteuid() == 0:
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")

    assert refused.returncode == 64
    assert "run by root" in refused.stderr
