"""A submission as, or in, a dataset repository of the Hugging Face hub."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaugeblock.programs.errors import GaugeblockError
from gaugeblock.submissions.manifest import MANIFEST
from gaugeblock.submissions.reading import check_shown, read_submission

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def push(
    folder: str | Path,
    repo_id: str,
    *,
    into: str = "",
    token: str | None = None,
    api: "HfApi | Any | None" = None,
    create_pr: bool = True,
) -> str:
    """Upload a submission, as a pull request if not asked otherwise; returns its address.

    Args:
        repo_id: "owner/name" of a dataset repository that exists.
        into: folder in the repository; by default the submission is the repository, and its README the card.
        token: of an account; by default the one that `hf auth login` left.
        api: what uploads; `huggingface_hub.HfApi` by default.

    Raises:
        FileError: the folder is no submission, or not what its manifest says.
        GaugeblockError: the hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    submission = read_submission(folder)
    check_shown(submission)
    manifest = submission.manifest
    try:
        done = (api or HfApi(token=token)).upload_folder(
            repo_id=repo_id,
            folder_path=str(folder),
            path_in_repo=into or None,
            repo_type="dataset",
            commit_message=f"Submission of {manifest.method}: {manifest.digest[:12]}",
            create_pr=create_pr,
            allow_patterns=[MANIFEST, *manifest.files],
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        first = str(error).partition("\n")[0]
        raise GaugeblockError(f"the hub refuses the upload to {repo_id!r}: {first}") from error
    except Exception as error:  # of the HTTP library underneath, where there is no network
        first = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise GaugeblockError(f"the hub could not be reached for {repo_id!r}: {first}") from error
    return str(done.pr_url or done.commit_url)
