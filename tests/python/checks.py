"""How the clients here check what a server does: each check is a function, and prints a line."""

import argparse
import sys
import traceback


def parser(doc):
    """The arguments that every client has."""
    arguments = argparse.ArgumentParser(description=doc)
    arguments.add_argument("--server", default="127.0.0.1:50051")
    arguments.add_argument("--check", action="append", help="only the check of this name; may be repeated")
    return arguments


def run(checks, only, *arguments):
    """Runs the checks, all or those that are named, and ends the program: with 1 and what failed, if any did."""
    unknown = set(only or ()) - {check.__name__ for check in checks}
    if unknown:
        sys.exit(f"no such check: {', '.join(sorted(unknown))}")
    failures = []
    for check in checks:
        if only and check.__name__ not in only:
            continue
        try:
            check(*arguments)
            print(f"ok: {check.__name__}", flush=True)
        except AssertionError as error:
            failures.append(f"FAILED: {check.__name__}: {error}")
        except Exception:  # a failure too, whatever it is, and the other checks go on
            failures.append(f"FAILED: {check.__name__}\n{traceback.format_exc()}")
    sys.exit("\n".join(failures) or None)


def equal(found, expected, what):
    if found != expected:
        raise AssertionError(f"{what}: expected {expected!r}, found {found!r}")


def holds(condition, what):
    if not condition:
        raise AssertionError(f"not so: {what}")
