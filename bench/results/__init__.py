"""What a run leaves on disk: records of cases and jobs, their files, and where the numbers came from."""

from gaugeblock.results.files import (
    case_path,
    case_paths,
    certificate_path,
    read_case,
    read_result,
    result_path,
    result_paths,
    write_json,
)
from gaugeblock.results.records import CaseRecord, Claim, Result

__all__ = [
    "CaseRecord",
    "Claim",
    "Result",
    "case_path",
    "case_paths",
    "certificate_path",
    "read_case",
    "read_result",
    "result_path",
    "result_paths",
    "write_json",
]
