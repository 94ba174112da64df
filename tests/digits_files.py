"""Raw and prepared files of AV-digits."""

from importlib import metadata


def installed(package, name):
    return metadata.distribution(package).locate_file(name)


def examples(source):
    return [source[row] for row in range(len(source))]


def tree(folder):
    """Every file and when it was last written."""
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}
