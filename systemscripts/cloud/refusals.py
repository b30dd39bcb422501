"""What went wrong at a cloud, as one sentence with the cure; rclone's own words are kept at its end."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.known_secrets import mask
from systemscripts.plain_text import on_one_line

_LONGEST_WORDS = 300


class Gone(JobError):
    """There is no such object, folder or bucket."""


class Denied(JobError):
    """The cloud knows us, and does not allow it."""


class NotKept(TemporaryFailure):
    """What arrived is not what was sent."""


class _Case(NamedTuple):
    """What rclone's words look like, the failure, and the sentence about the file or path."""

    words: str
    kind: Callable[[str], JobError]
    sentence: str


# The first that fits counts. {file} is the remote's file, {path} what was asked for.
_CASES = [
    _Case(
        r"is it obscured\?",
        JobError,
        "cannot be used with the pass in {file}, which is not in rclone's form; docs/clouds.md says how it is printed in it",
    ),
    _Case(
        r"error processing credentials|JSON input|invalid character .{1,10} (looking for|after|in) ",
        JobError,
        "gets a token or key that is no whole JSON from {file}; copy it there again, as it was printed or downloaded, on one line",
    ),
    _Case(
        r"RequestTimeTooSkewed|time.{0,20}skew|Invalid JWT: Token must be a short-lived"
        r"|certificate has expired or is not yet valid: current time",
        JobError,
        "refuses us because this machine's clock differs from its own, or its certificate's time is not now; type: timedatectl,"
        " and let the clock be set by the network",
    ),
    _Case(
        r"invalid_grant|token expired|ExpiredToken|InvalidToken|couldn't fetch token|failed to refresh token|empty token found"
        r"|invalid_client|expired_access_token|InvalidAuthenticationToken|AADSTS",
        JobError,
        "takes our token no longer; ask for a new one on a machine with a browser (rclone authorize), and put it into {file}",
    ),
    _Case(
        r"InvalidAccessKeyId|SignatureDoesNotMatch|AuthenticationFailed|InvalidSecurity|access key .{0,40}(not|invalid)"
        r"|\b401\b|Unauthorized|no access key|illegal base64|decode account key|NoCredentialProviders"
        r"|failed to authenticate the request"
        r"|failed to (refresh cached|retrieve) credentials|Invalid Credentials|invalid_access_token|static credentials are empty",
        JobError,
        "refuses the keys of {file}; compare them with the ones that the cloud shows, and put the right ones there",
    ),
    _Case(
        r"NoSuchBucket|BucketNotFound|bucket (does not exist|not found)|ContainerNotFound|container (does not exist|not found)",
        Gone,
        "has no bucket or container of the name in {path}; check incoming_path and outgoing_path, or have it made",
    ),
    _Case(
        r"InvalidBucketName|bucket name.{0,30}(invalid|not valid)|InvalidResourceName|PermanentRedirect|BucketRegionError"
        r"|AuthorizationHeaderMalformed|MovedPermanently|IllegalLocationConstraint|incorrect region",
        JobError,
        "takes the name or region of the bucket in {path} for wrong; check the path, and region and endpoint in {file}",
    ),
    _Case(
        r"\b429\b|TooManyRequests|Too Many Requests|SlowDown|Slow Down|rateLimitExceeded|RateLimitExceeded|too_many_(requests|write)"
        r"|activityLimitReached|\b50[0234]\b|InternalError|ServiceUnavailable|Service Unavailable"
        r"|ServerBusy|Bad Gateway|RequestTimeout|backendError",
        TemporaryFailure,
        "is busy or out of order, and asks to come again later; the next run tries again",
    ),
    _Case(
        r"\b507\b|Insufficient Storage|QuotaExceeded|quotaExceeded|quotaLimitReached|insufficient_space|QuotaLimit|storage quota",
        JobError,
        "has no room left for {path}; have room made there",
    ),
    _Case(r"\b423\b|Locked\b|resourceLocked", TemporaryFailure, "has {path} locked; the next run tries again"),
    _Case(
        r"AccessDenied|Access Denied|AllAccessDisabled|\b403\b|Forbidden|AuthorizationPermissionMismatch|AuthorizationFailure"
        r"|insufficientFilePermissions|insufficientPermissions"
        r"|accessDenied|does not have storage\.|no_permission|no_write_permission|missing_scope|insufficient_scope",
        Denied,
        "does not allow it for {path}; give this login the right that docs/clouds.md names for it, or use another login in {file}",
    ),
    _Case(
        r"is a directory not a file",
        JobError,
        "has a folder in place of {path} or of the file that it was to become; have that folder renamed, or give the file another name",
    ),
    _Case(
        r"object not found|directory not found|NoSuchKey|\b404\b|Not Found|itemNotFound|not_found|BlobNotFound",
        Gone,
        "has no {path}; check that path, bucket or top folder first",
    ),
    _Case(
        r"x509:|tls:|certificate|server gave HTTP response to HTTPS",
        JobError,
        "cannot prove who it is, so nothing was sent; check endpoint or url in {file}, and SSL_CERT_FILE for a certificate of one's own",
    ),
    _Case(
        r"no such host|server misbehaving|connection refused|connection reset|broken pipe|no route|network is unreachable"
        r"|timeout|deadline exceeded"
        r"|unexpected EOF|\bEOF\b|context canceled|http2:|GOAWAY",
        TemporaryFailure,
        "cannot be reached; check endpoint or url in {file}, and the network",
    ),
    _Case(
        r"corrupted on transfer|sizes differ|hash(es)? differ|BadDigest|XAmzContentSHA256Mismatch|IncompleteBody",
        NotKept,
        "has not kept {path} as it was sent, and nothing of it counts; the next run sends it again. If this stays and the bucket encrypts"
        " with keys of its own (KMS), write server_side_encryption = aws:kms into {file}",
    ),
]  # fmt: skip


def refusal(remote: str, file: Path, path: str, words: str) -> JobError:
    """Return what to raise for rclone's words about a path of the remote."""
    # Azure's words have rulers between their lines.
    words = on_one_line(re.sub(r"\s*-{9,}\s*", "; ", mask(words)))
    told = words if len(words) <= _LONGEST_WORDS else f"{words[:_LONGEST_WORDS]} …"
    # A number in an address or in the path is no status. A name without one stays: it may be a word, such as in.
    searched = re.sub(r'"\w+://[^"]*"', "", words).replace(path, "")
    if re.search("[0-9]", name := path.rpartition("/")[2]):
        searched = searched.replace(name, "")
    for case in _CASES:
        if re.search(case.words, searched):
            sentence = case.sentence.format(file=file, path=repr(path))
            return case.kind(f"the remote {remote} {sentence} ({told})")
    return JobError(f"the remote {remote} gives an error for {path!r}: {told}")
