"""Commands that differ from a good one in one respect."""

import dataclasses

CONFIG = "--config=configs/av_digits.py"


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A command that differs from a good one in one respect.

    Attributes:
        name: The mistake.
        flags: Added to the command; ``TMP`` stands for the test's folder.
        message: Parts of the answer.
        change: A line of a config file of the user's own, run on the config.
        config: The whole text of such a file instead.
        plain: Run the flags alone.
    """

    name: str
    message: tuple[str, ...]
    flags: tuple[str, ...] = ()
    change: str = ""
    config: str = ""
    plain: bool = False


def flag(name, text, *message):
    return Mistake(name, flags=(text,), message=message)


def key(name, text, *message):
    return flag(name, f"--config.{text}", *message)


def alone(name, flags, *message):
    return Mistake(name, flags=flags, message=message, plain=True)


def file(name, change, *message):
    return Mistake(name, change=change, message=message)


MISTAKES = [
    # The command.
    alone("no flags", (), "needs --config=FILE and --workdir=DIR"),
    alone("no workdir", (CONFIG,), "needs --config=FILE and --workdir=DIR"),
    alone("empty workdir", (CONFIG, "--workdir="), "needs --config=FILE and --workdir=DIR"),
    alone("no config", ("--workdir=TMP/run",), "needs --config=FILE and --workdir=DIR"),
    alone("workdir without a value", (CONFIG, "--workdir"), "Missing value", "--workdir"),
    flag("stray argument", "seed=1", "unexpected argument 'seed=1'", "--config.KEY=VALUE"),
    flag("unknown flag", "--wrkdir=x", "Unknown command line flag 'wrkdir'", "workdir"),
    # The config file.
    alone(
        "no such config file",
        ("--config=configs/digits.py", "--workdir=TMP/run"),
        *("No such file", "configs/digits.py"),
    ),
    alone("a folder as config file", ("--config=configs", "--workdir=TMP/run"), "a directory"),
    Mistake(
        "config file with a syntax error",
        config="def get_config(:\n",
        message=("cannot use --config=", "invalid syntax (own.py, line 1)"),
    ),
    Mistake(
        "config file that fails",
        config="def get_config():\n    return 1 / 0\n",
        message=("cannot use --config=", "own.py: division by zero"),
    ),
    Mistake(
        "config file that returns no config",
        config="def get_config():\n    return {'seed': 0}\n",
        message=("own.py: get_config must return an ml_collections.ConfigDict, got dict",),
    ),
    alone(
        "unknown preset",
        (f"{CONFIG}:unlabeled", "--workdir=TMP/run"),
        *("unknown preset 'unlabeled'", "known: ", "unlabelled"),
    ),
    file("missing section", "del config['optim']", "lacks the section 'optim'"),
    file(
        "unknown section",
        "config.optimizer = {'name': 'sgd'}",
        *("unknown config section 'optimizer'", "Did you mean 'optim'?"),
    ),
    file(
        "unknown key in a file",
        "config.train.num_steps = 5",
        *("unknown option of section 'train': 'num_steps'", "num_epochs"),
    ),
    file(
        "value of the wrong type in a file",
        "del config.train['num_epochs']; config.train.num_epochs = 'ten'",
        "section 'train': num_epochs must be a whole number, got 'ten'",
    ),
    file("method without a name", "del config.method['name']", "method must hold a name", "cutoff"),
    # Keys given as flags.
    key(
        "unknown key at the top",
        "sede=1",
        *("unknown config key in '--config.sede=1': 'sede'", "Did you mean 'seed'?"),
    ),
    key(
        "unknown key below",
        "optim.learning_rat=1",
        *("'learning_rat'", "known: backbone_scale, ", "Did you mean 'learning_rate'?"),
    ),
    key("key below a value", "seed.x=1", "unknown config key in '--config.seed.x=1': 'x'"),
    key(
        "value of the wrong type", "train.num_epochs=many", "--config.train.num_epochs=many", "int"
    ),
    # Values.
    key("cutoff out of range", "method.cutoff=1.5", "cutoff must lie inside (0, 1), got 1.5"),
    key(
        "unknown method",
        "method.name=fd_cmk",
        *("unknown method 'fd_cmk'", "fd_cmkd, figkd, fitnet, join, kd", "mean 'fd_cmkd'?"),
    ),
    key("unknown model", "models.audio.name=resnet_tinny", "'resnet_tinny'", "mean 'resnet_tiny'?"),
    key("unknown data set", "data.name=avdigits", "data set 'avdigits'", "mean 'av_digits'?"),
    key("unknown pairing", "pairing.kind=mixed", "kind must be one of ['true', ", "'mixed'"),
    key("unknown optimizer", "optim.name=adam", "unknown optimizer 'adam'; known: adamw, sgd"),
    key(
        "unknown modality",
        "directions=('audio->smell',)",
        "unknown modality of av_digits 'smell'; known: audio, image",
    ),
    key(
        "malformed direction",
        "directions=('audio-image',)",
        "a direction is 'teacher->student' with two modalities, got 'audio-image'",
    ),
    key(
        "one modality twice",
        "directions=('audio->audio',)",
        "a direction is 'teacher->student' with two modalities, got 'audio->audio'",
    ),
    key(
        "several teachers for a method of one",
        "directions=('audio+image->image',)",
        "audio+image->image has several teachers, but the method 'fd_cmkd' learns from one; put it "
        "into the method multi_teacher",
    ),
    key(
        "one teacher twice",
        "directions=('audio+audio->image',)",
        "a direction names each teacher once, got 'audio+audio->image'",
    ),
    key("negative epochs", "train.num_epochs=-1", "num_epochs", "must be positive, got -1"),
    key("empty batch", "input.batch_size=0", "batch_size", "must be positive, got 0"),
    key(
        "batch larger than the split",
        "input.batch_size=208",
        *("batch_size is 208, but there are only 200 training examples", "drop_remainder=False"),
    ),
    key(
        "batch that does not divide over the devices",
        "input.batch_size=62",
        "a batch of 62 does not divide over 8 devices; use a multiple of 8",
    ),
    key(
        "more labels than examples",
        "pairing.labelled_per_class=21",
        "labelled_per_class is 21, but class 0 has 20 examples",
    ),
    key(
        "more pairs than there are",
        "data.pairs_per_class=151",
        "pairs_per_class must lie in [1, 150], got 151",
    ),
    key("negative weight", "weights.low=-1", "weights.low must be a finite number", "got -1.0"),
    file("weight missing", "del config.weights['low']", "weights", "missing ['low']"),
    file("weight of no term", "config.weights.hint = 1.0", "weights", "not a term ['hint']"),
    file(
        "unknown augmentation",
        "config.input.augment.image = {'name': 'flip'}",
        "unknown augmentation 'flip'; known: mask_frames, shift",
    ),
    # Things outside.
    key(
        "teacher that does not exist",
        "teacher.checkpoints.audio=TMP/no_teacher",
        *("no checkpoints under ", "no_teacher", "expected a trained model's folder"),
    ),
    alone(
        "workdir below a file",
        (CONFIG, "--workdir=TMP/own.py/run"),
        *("cannot read or write", "own.py", "Not a directory"),
    ),
    key("former method", "method.name=logit", "method 'logit' was renamed: use 'kd'"),
    key("former key", "data.batch_size=32", "unknown config key in", "'batch_size'"),
    file(
        "former key in a file",
        "config.data.batch_size = 32",
        "the config key data.batch_size was renamed: use input.batch_size",
    ),
    key(
        "import path without a module",
        "method.name=no_such_module:method",
        "cannot import 'no_such_module'",
    ),
    key("import path without a thing", "models.audio.name=builders:toy_nt", "mean 'toy_net'?"),
]
