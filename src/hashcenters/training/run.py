"""A whole run in a folder: train, select, evaluate, write; stopped at any moment, it goes on where it was."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import accelerate
import numpy as np
import timm
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset

import hashcenters
from hashcenters.centers import save_centers, similarity_from_features
from hashcenters.centers.randomness import RUN_STREAM, random_stream
from hashcenters.checks import check_count
from hashcenters.models.hasher import Hasher
from hashcenters.retrieval.codes import pack, packed_width
from hashcenters.retrieval.distributed import gather, is_active
from hashcenters.retrieval.result import RetrievalResult
from hashcenters.training.batches import EpochBatches, held_out_split
from hashcenters.training.checkpoints import (
    Checkpoint,
    load_checkpoint,
    random_state,
    restore_random_state,
    save_checkpoint,
)
from hashcenters.training.evaluation import (
    Encoded,
    Loading,
    encode_share,
    evaluate_shares,
    features_of,
    gather_shares,
)
from hashcenters.training.files import write_atomically, write_json
from hashcenters.training.logs import TensorBoardLog, write_log
from hashcenters.training.loop import Epoch, fit, make_accelerator
from hashcenters.training.methods import Plan, make_network, make_plan, make_shallow, second_loss
from hashcenters.training.optimization import make_optimizer, make_schedule, parameter_groups
from hashcenters.training.recipes import SHALLOW_METHODS, Recipe
from hashcenters.training.results import write_results

__all__ = ["Items", "MakeDataset", "RunOptions", "Selection", "Splits", "train_and_evaluate"]

Selection = Literal["held-out", "last", "test"]
Precision = Literal["no", "bf16", "fp16"]


class Items(Protocol):
    """Labelled files: ``hashcenters.data.images.ItemList``, or another data set's."""

    @property
    def labels(self) -> Tensor:
        """Class ids int64 (N,), or multi-hot (N, n_classes)."""

    @property
    def paths(self) -> tuple[str, ...]:
        """A name for each item."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """A name for each class."""

    def subset(self, rows: Tensor) -> Items:
        """Return some of them."""

    def __len__(self) -> int: ...


class Splits(Protocol):
    """What to train on, to ask, and to search in: ``hashcenters.data.images.ItemSplits``, or another data set's."""

    @property
    def name(self) -> str:
        """Name of the data set."""

    @property
    def train(self) -> Items:
        """Items to train on."""

    @property
    def queries(self) -> Items:
        """Items to ask for."""

    @property
    def database(self) -> Items:
        """Items to search in."""

    @property
    def top_k(self) -> int:
        """Items that count in average precision."""

    def counts(self) -> dict[str, float]:
        """Return sizes, by name."""

    def report(self) -> str:
        """Say what was found."""


class MakeDataset(Protocol):
    """Makes a data set of items."""

    def __call__(
        self,
        items: Any,  # noqa: ANN401
        *,
        train: bool,
        targets: Tensor | None = None,
        database: bool = False,
    ) -> Dataset[Any]:
        """Return pairs of input and label, or row of targets; augmented where ``train`` says so.

        ``database`` says that the items are to be searched in.

        Its keys are indices, or pairs (epoch, index) that augmentation is to depend on.
        """


@dataclass(frozen=True)
class RunOptions:
    """What a run needs to know beside its recipe.

    Attributes:
        folder: where everything is written.
        resume: go on with what the folder holds; False refuses a folder that holds a run.
        selection: whose mAP selects the weights that are evaluated: training samples held out, no one's (the weights of
            the last epoch), or the test queries, as peers do; that is optimistic, and the results say so.
        validation_share: share of the training samples to hold out.
        validate_every: epochs between validations; the last epoch always has one.
        n_workers: processes that load and decode, for each process of the run.
        n_threads: threads of torch on the CPU, for the whole process; None leaves them.
        n_accumulated: parts that a process's share of a batch is divided into, to save memory.
        mixed_precision: "bf16" or "fp16" for the network; "no" is float32.
        channels_last: lay out images with channels last.
        compile: compile the network by ``torch.compile``.
        tensorboard: write curves for TensorBoard too.
        evaluation_batch: samples that are encoded at once.
        progress: show bars and print what happens.
        arguments: what the run was started with, of plain values, to be written down.

    Raises:
        TypeError: a number that is not an int.
        ValueError: an unknown choice, or a number out of range.

    Examples:
        >>> RunOptions(Path("runs/coco")).selection
        'held-out'
    """

    folder: Path
    resume: bool = False
    selection: Selection = "held-out"
    validation_share: float = 0.1
    validate_every: int = 5
    n_workers: int = 0
    n_threads: int | None = None
    n_accumulated: int = 1
    mixed_precision: Precision = "no"
    channels_last: bool = False
    compile: bool = False
    tensorboard: bool = False
    evaluation_batch: int = 128
    progress: bool = True
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.selection not in get_args(Selection):
            raise ValueError(f"selection must be one of {', '.join(get_args(Selection))}, got {self.selection!r}")
        if self.mixed_precision not in get_args(Precision):
            raise ValueError(
                f"mixed_precision must be one of {', '.join(get_args(Precision))}, got {self.mixed_precision!r}"
            )
        if not 0 < self.validation_share < 1:
            raise ValueError(f"validation_share must lie in (0, 1), got {self.validation_share}")
        for name in ("validate_every", "n_accumulated", "evaluation_batch"):
            check_count(getattr(self, name), name)
        check_count(self.n_workers, "n_workers", least=0)
        if self.n_threads is not None:
            check_count(self.n_threads, "n_threads")


def train_and_evaluate(
    splits: Splits,
    recipe: Recipe,
    options: RunOptions,
    *,
    make_datasets: Callable[[Hasher], MakeDataset],
    thumbnail: Callable[[int, str], Any] | None = None,
    encoder: Callable[[Hasher], Hasher] | None = None,
) -> RetrievalResult | None:
    """Do a whole run: train by a recipe, select weights, encode, evaluate, and write it all into a folder.

    Called in every process of ``accelerate launch`` or ``torchrun``, it shares the work: batches, encoding, counting.
    A run that is killed goes on with ``resume=True`` from its last whole epoch; on the CPU, with the same number of
    processes and threads, it ends with the same weights to the last bit. The processes of several machines need one
    folder that all can read.

    The global random generators of torch, numpy and Python are seeded by the recipe.

    Args:
        splits: the data.
        recipe: how to train.
        options: where to, and on what machine.
        make_datasets: called with the network, returns what makes data sets of items; so a transform may depend on the
            network.
        thumbnail: called with a position and ``"queries"`` or ``"database"``, returns a small PIL image for the
            pictures of neighbours; None leaves the pictures out.
        encoder: makes of the trained network what encodes database and queries; None takes the network itself.

    Returns:
        The metrics of the test queries; None where ``resume`` finds a finished run.

    Raises:
        FileExistsError: the folder holds a run and ``resume`` is False.
        ValueError: the folder holds a run that was made otherwise, or an option does not fit the data.
        OSError: the folder cannot be written; the last checkpoint stays.
        RuntimeError: a worker that loads samples died.
    """
    if options.n_threads is not None:
        torch.set_num_threads(options.n_threads)
    accelerator = make_accelerator(mixed_precision=options.mixed_precision, n_accumulated=options.n_accumulated)
    run = _Run(splits, recipe, options, make_datasets, accelerator)
    run.encoder = encoder
    if run.open_folder():
        run.say(f"{options.folder} holds the finished run; delete its metrics.json to evaluate it again")
        return None
    run.say(splits.report())
    if recipe.method in SHALLOW_METHODS:
        return run.finish(*run.encode_shallow(), centers=None, thumbnail=thumbnail)
    centers = run.train()
    return run.finish(*run.encode_test(), centers=centers, thumbnail=thumbnail)


class _Run:
    """A run in this process."""

    def __init__(
        self,
        splits: Splits,
        recipe: Recipe,
        options: RunOptions,
        make_datasets: Callable[[Hasher], MakeDataset],
        accelerator: Accelerator,
    ) -> None:
        self.splits = splits
        self.recipe = recipe
        self.options = options
        self.accelerator = accelerator
        self.main = accelerator.is_main_process
        self.folder = options.folder
        self.loading = Loading(options.evaluation_batch, options.n_workers, options.progress)
        self.selection: Selection = "last" if recipe.method in SHALLOW_METHODS else options.selection
        self.train_items: Items = splits.train
        self.held_out: Items | None = None
        if self.selection == "held-out":
            rows, held_out = held_out_split(splits.train.labels, options.validation_share, recipe.seed)
            self.train_items, self.held_out = splits.train.subset(rows), splits.train.subset(held_out)
        _seed_all(recipe.seed, 0)  # the same weights to begin with in every process
        self.network = make_network(recipe)
        self.encoder: Callable[[Hasher], Hasher] | None = None
        self.make_dataset = make_datasets(self.network)
        self.n_classes = len(splits.train.class_names)
        self.checkpoint: Checkpoint | None = None
        self.history: list[Epoch] = []
        self.records: list[dict[str, Any]] = []
        self.best_epoch, self.best_map = 0, -1.0

    def say(self, words: str) -> None:
        """Print in the main process."""
        if self.main and self.options.progress:
            print(words, flush=True)

    # The folder.

    def open_folder(self) -> bool:
        """Refuse a folder that holds another run, read the checkpoint of this one, write down what it is.

        Returns:
            Whether the run is finished.
        """
        path = self.folder / "config.json"
        decides = self.decides()
        begun = (self.folder / "checkpoint.pt").exists()
        finished = (self.folder / "metrics.json").exists()
        if path.exists() and (begun or finished):  # otherwise a run that was refused, or stopped in its first epoch
            if not self.options.resume:
                raise FileExistsError(f"{self.folder} holds a run: go on with it by --resume, or take another folder")
            try:
                config = json.loads(path.read_text(encoding="utf-8"))
                before = dict(config["decides"])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path} is damaged ({error!r}); take another folder") from error
            changed = sorted(name for name in {*before, *decides} if before.get(name) != decides.get(name))
            if changed:
                shown = ", ".join(f"{name} was {before.get(name)!r}, is {decides.get(name)!r}" for name in changed)
                raise ValueError(f"{self.folder} holds a run that was made otherwise: {shown}; take another folder")
            for name, now in self.divides().items():
                if config.get(name) != now and not finished:
                    self.say(
                        f"{name} was {config.get(name)}, is {now}: the batches of a process are others from here on"
                    )
            if begun:
                self.checkpoint = load_checkpoint(self.folder / "checkpoint.pt")
                self.history, self.records = self.checkpoint.history, self.checkpoint.records
                self.best_epoch, self.best_map = self.checkpoint.best_epoch, self.checkpoint.best_map
                if not finished:
                    self.say(f"going on after epoch {len(self.history)} of {self.recipe.n_epochs}")
        if is_active():  # and so all have looked before one writes
            found = gather((len(self.history), finished))
            if len(set(found)) > 1:
                raise ValueError(
                    f"all processes must see the same {self.folder}, but they found {found} epochs and results; "
                    "take a folder that all machines share"
                )
        if finished:
            return True
        if self.main:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(path, self.config(decides))
            if self.checkpoint is not None:
                self.tidy()
        return False

    def divides(self) -> dict[str, int]:
        """Return what a batch of the run is divided by."""
        return {"n_processes": self.accelerator.num_processes, "n_accumulated": self.options.n_accumulated}

    def decides(self) -> dict[str, Any]:
        """Return what the weights depend on, as JSON would give it back."""
        recipe = {name: value for name, value in self.recipe.as_dict().items() if name != "quirks"}
        splits = self.splits
        data = {
            f"{name} items": _fingerprint(part)
            for name, part in (("train", splits.train), ("queries", splits.queries), ("database", splits.database))
        }
        chosen = {
            name: getattr(self.options, name)
            for name in ("selection", "validation_share", "validate_every", "mixed_precision")
        }
        decided: dict[str, Any] = json.loads(json.dumps(recipe | data | chosen))
        return decided

    def config(self, decides: dict[str, Any]) -> dict[str, Any]:
        """Return what to write beside the results."""
        return {
            "version": hashcenters.__version__,
            "data": self.data(),
            "recipe": self.recipe.as_dict(),
            "selection": self.selection,
            "options": asdict(self.options) | {"folder": self.folder.name},
            **self.divides(),
            "device": str(self.accelerator.device),
            "libraries": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "timm": timm.__version__,
                "accelerate": accelerate.__version__,
                "numpy": np.__version__,
            },
            "decides": decides,
        }

    def data(self) -> dict[str, Any]:
        """Return what the data are."""
        counts = self.splits.counts()
        named = {"name": self.splits.name, "top_k": self.splits.top_k, "n_held_out": len(self.held_out or ())}
        sizes = {f"n_{name}": int(counts[name]) for name in ("train", "queries", "database")}
        sizes["skipped"] = int(counts.get("skipped", 0))
        left_out = {"skipped_paths": list(getattr(self.splits, "skipped", ()))}
        rest = {"n_classes": self.n_classes, "imbalance": counts["data_imbalance"], "report": self.splits.report()}
        return named | sizes | left_out | rest

    # Training.

    def train(self) -> Tensor | None:
        """Train, or go on; afterwards the network has the weights selected. Return the centers, if there are some."""
        recipe = self.recipe
        self.network.to(self.accelerator.device)
        parts = math.prod(self.divides().values())
        plan = make_plan(
            replace(recipe, batch_size=max(1, recipe.batch_size // parts)),  # what a loss sees at once
            self.train_items.labels,
            self.n_classes,
            self.network.head.in_features,
            similarity=self.similarity() if recipe.place_centers else None,
        )
        if plan.head is not None:
            self.network.head = plan.head.to(self.accelerator.device)  # type: ignore[assignment]
        if self.options.compile:
            self.network.compile()
        _seed_all(recipe.seed, 1 + self.accelerator.process_index)
        if self.checkpoint is not None:
            self.network.load_state_dict(self.checkpoint.network)
        loss_fn, centers = plan.loss_fn, plan.centers
        n_first = recipe.n_epochs
        if plan.learns_centers:
            n_first = recipe.n_epochs // 2
            if not n_first:
                raise ValueError(f"n_epochs must be at least 2 with method {recipe.method!r}, got {recipe.n_epochs}")
        if self.checkpoint is None or self.checkpoint.stage == 0:
            self.train_stage(0, loss_fn, plan, n_first)
            if plan.learns_centers:
                centers = _centers_of(loss_fn)
        if plan.learns_centers:
            if centers is None:  # training stopped after they were learned: the checkpoint has them
                centers = torch.ones(self.n_classes, recipe.n_bits)
            loss_fn = second_loss(recipe, centers)
            self.train_stage(1, loss_fn, plan, recipe.n_epochs)
            centers = _centers_of(loss_fn)
        if self.best_epoch:
            path = self.best_path(self.best_epoch)
            if not path.exists():
                raise FileNotFoundError(
                    f"{path} is gone: the weights that were selected; train again in another folder"
                )
            self.network.load_state_dict(load_file(path))
        return centers

    def similarity(self) -> Tensor:
        """Return how similar the classes look to the backbone, float (n_classes, n_classes); kept in a file."""
        path = self.folder / "similarity.safetensors"
        if self.checkpoint is not None and path.exists():  # otherwise it may be of a run that was given up
            return load_file(path)["similarity"]
        self.say("computing features, to give similar classes near centers")
        share = features_of(
            self.network,
            self.make_dataset(self.train_items, train=False),
            self.train_items.labels,
            accelerator=self.accelerator,
            loading=self.loading,
            encoder=self.encoder,
        )
        similarity = _similarity(*gather_shares(share), self.n_classes)
        if self.main:
            write_atomically(path, save({"similarity": similarity.contiguous()}))
        return similarity

    def train_stage(self, stage: int, loss_fn: nn.Module, plan: Plan, n_epochs: int) -> None:
        """Train with one loss, up to and with an epoch."""
        recipe, options, accelerator = self.recipe, self.options, self.accelerator
        before = len(self.history)
        begins = 0 if stage == 0 else recipe.n_epochs // 2
        batches = EpochBatches(
            len(self.train_items),
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            process=accelerator.process_index,
            n_processes=accelerator.num_processes,
            n_accumulated=options.n_accumulated,
        )
        batches.epoch = before
        dataset = self.make_dataset(self.train_items, train=True, targets=plan.targets if stage == 0 else None)
        loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=batches,
            num_workers=options.n_workers,
            persistent_workers=options.n_workers > 0,
            pin_memory=accelerator.device.type == "cuda",
            generator=torch.Generator(),
        )
        loss_fn.to(accelerator.device)
        groups = parameter_groups(
            self.network,
            loss_fn,
            lr=recipe.lr,
            backbone_multiplier=recipe.backbone_multiplier,
            loss_multiplier=recipe.loss_multiplier,
        )
        optimizer = make_optimizer(recipe.optimizer, groups, weight_decay=recipe.weight_decay, momentum=recipe.momentum)
        schedule = make_schedule(
            recipe.schedule,
            optimizer,
            n_epochs=n_epochs - begins,
            steps_per_epoch=batches.n_steps,
            step_epochs=recipe.step_epochs,
            step_factor=recipe.step_factor,
            warmup_steps=round(recipe.warmup_epochs * batches.n_steps),
        )
        if self.checkpoint is not None and self.checkpoint.stage == stage:
            loss_fn.load_state_dict(self.checkpoint.loss)
            optimizer.load_state_dict(self.checkpoint.optimizer)
            schedule.load_state_dict(self.checkpoint.schedule)
            if self.checkpoint.scaler is not None and accelerator.scaler is not None:
                accelerator.scaler.load_state_dict(self.checkpoint.scaler)
            if accelerator.process_index < len(self.checkpoint.random):
                restore_random_state(self.checkpoint.random[accelerator.process_index])
            self.checkpoint = None
        if before == n_epochs:
            return
        log = None
        if options.tensorboard and self.main:
            log = TensorBoardLog(self.folder / "tensorboard", first_epoch=before + 1)

        def after_epoch(epoch: Epoch) -> None:
            self.history.append(epoch)
            self.records.append(self.record(epoch, optimizer))
            self.validate(epoch.epoch, select=stage == 1 or not plan.learns_centers)
            self.keep(stage, loss_fn, optimizer, schedule)
            if log is not None:
                log.add(self.records[-1])
            self.say(_line(self.records[-1], recipe.n_epochs))

        try:
            fit(
                self.network,
                loss_fn,
                loader,
                optimizer=optimizer,
                n_epochs=n_epochs,
                schedule=schedule,
                accelerator=accelerator,
                clip_norm=recipe.clip_norm,
                channels_last=options.channels_last,
                history=tuple(self.history),
                after_epoch=after_epoch,
                progress=options.progress,
            )
        finally:
            if log is not None:
                log.close()

    def record(self, epoch: Epoch, optimizer: Optimizer) -> dict[str, Any]:
        """Return an epoch's line of the log."""
        rates = {str(group.get("name", number)): group["lr"] for number, group in enumerate(optimizer.param_groups)}
        return {
            "epoch": epoch.epoch,
            "loss": epoch.loss,
            "n_samples": epoch.n_samples,
            "seconds": epoch.seconds,
            "samples_per_second": epoch.n_samples / epoch.seconds,
            "lr": rates,
        }

    def validate(self, epoch: int, *, select: bool) -> None:
        """Evaluate an epoch's weights where it is due, and keep them if they are to be selected and the best."""
        due = epoch % self.options.validate_every == 0 or epoch == self.recipe.n_epochs
        if self.selection == "last" or not due:
            return
        if self.selection == "test":
            items, queries = self.splits.database, self.splits.queries
        else:
            assert self.held_out is not None
            items, queries = self.train_items, self.held_out
        value = self.evaluate(self.encode(items, database=True), self.encode(queries)).map
        self.records[-1]["map"] = value
        if select and value > self.best_map:
            self.best_epoch, self.best_map = epoch, value
            if self.main:
                write_atomically(self.best_path(epoch), save(_contiguous(self.network.state_dict())))

    def keep(self, stage: int, loss_fn: nn.Module, optimizer: Optimizer, schedule: LRScheduler) -> None:
        """Write the checkpoint, then what follows from it."""
        scaler = self.accelerator.scaler
        state = random_state()
        checkpoint = Checkpoint(
            history=self.history,
            stage=stage,
            network=self.network.state_dict(),
            loss=loss_fn.state_dict(),
            optimizer=optimizer.state_dict(),
            schedule=schedule.state_dict(),
            scaler=None if scaler is None else scaler.state_dict(),
            random=gather(state) if is_active() else [state],
            records=self.records,
            best_epoch=self.best_epoch,
            best_map=self.best_map,
        )
        if not self.main:
            return
        save_checkpoint(self.folder / "checkpoint.pt", checkpoint)
        self.tidy()

    def tidy(self) -> None:
        """Make the log and the weights that are kept agree with the checkpoint."""
        write_log(self.folder / "log.jsonl", self.records)
        for path in self.folder.glob("best-*.safetensors"):
            if path != self.best_path(self.best_epoch):
                path.unlink()

    def best_path(self, epoch: int) -> Path:
        """Name the file with an epoch's weights; a kill between it and the checkpoint cannot mix up epochs."""
        return self.folder / f"best-{epoch:04}.safetensors"

    # Evaluation.

    def encode(self, items: Items, *, database: bool = False) -> Encoded:
        """Encode this process's share of items."""
        return encode_share(
            self.network if self.encoder is None else self.encoder(self.network),
            self.make_dataset(items, train=False, database=database),
            items.labels,
            accelerator=self.accelerator,
            loading=self.loading,
        )

    def evaluate(self, database: Encoded, queries: Encoded) -> RetrievalResult:
        """Evaluate the shares of all processes."""
        return evaluate_shares(database, queries, n_bits=self.recipe.n_bits, top_k=self.splits.top_k)

    def encode_test(self) -> tuple[Encoded, Encoded]:
        """Encode database and queries by the network."""
        self.say(f"encoding {len(self.splits.database)} items and {len(self.splits.queries)} queries")
        return self.encode(self.splits.database, database=True), self.encode(self.splits.queries)

    def encode_shallow(self) -> tuple[Encoded, Encoded]:
        """Train a shallow method on the backbone's features, and encode database and queries by it."""
        self.network.to(self.accelerator.device)
        shares = {
            name: features_of(
                self.network,
                self.make_dataset(items, train=False, database=name == "database"),
                items.labels,
                accelerator=self.accelerator,
                loading=self.loading,
                encoder=self.encoder,
            )
            for name, items in (
                ("train", self.train_items),
                ("database", self.splits.database),
                ("queries", self.splits.queries),
            )
        }
        features, labels = gather_shares(shares["train"])
        start = time.perf_counter()
        estimator = make_shallow(self.recipe)
        if self.main:
            estimator.fit(features.numpy(), labels.numpy())
        if is_active():  # one fit for all: others might differ in the last digits
            estimator = gather(estimator if self.main else None)[0]
        seconds = time.perf_counter() - start
        self.history = [Epoch(1, float("nan"), len(labels), seconds, seconds)]

        def packed(share: Encoded) -> Encoded:
            if not len(share.codes):
                return share._replace(codes=torch.zeros(0, packed_width(self.recipe.n_bits), dtype=torch.uint8))
            codes = pack(torch.from_numpy(estimator.transform(share.codes.numpy())))
            return share._replace(codes=codes)

        return packed(shares["database"]), packed(shares["queries"])

    def finish(
        self,
        database: Encoded,
        queries: Encoded,
        *,
        centers: Tensor | None,
        thumbnail: Callable[[int, str], Any] | None,
    ) -> RetrievalResult:
        """Evaluate the test queries and write everything."""
        result = self.evaluate(database, queries)
        items, asked = gather_shares(database), gather_shares(queries)
        if self.main:
            if self.recipe.method not in SHALLOW_METHODS:
                write_atomically(self.folder / "model.safetensors", save(_contiguous(self.network.state_dict())))
            if centers is not None:
                save_centers(centers, self.folder / "centers.safetensors", seed=self.recipe.seed)
            write_results(
                self.folder,
                result,
                database=items,
                queries=asked,
                database_paths=self.splits.database.paths,
                query_paths=self.splits.queries.paths,
                class_names=self.splits.train.class_names,
                centers=centers,
                thumbnail=thumbnail,
                seed=self.recipe.seed,
                extra={
                    "seconds_training": self.history[-1].total_seconds,
                    "n_epochs": len(self.history),
                    "selection": self.selection,
                    "selected_epoch": self.best_epoch or len(self.history),
                    "validation_map": self.best_map if self.best_epoch else None,
                },
            )
        self.accelerator.wait_for_everyone()
        self.say(f"\n{result}\n\nwritten to {self.folder}")
        return result


def _fingerprint(items: Items) -> str:
    """Return what changes with any path or label."""
    digest = hashlib.sha256("\n".join(items.paths).encode("utf-8", "surrogateescape"))
    digest.update(items.labels.to(torch.int64).numpy().tobytes())
    return f"{len(items)}, {digest.hexdigest()[:16]}"


def _similarity(features: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """Return how similar classes look; one without samples is as similar to all as classes are on average."""
    hot = torch.nn.functional.one_hot(labels, n_classes) if labels.ndim == 1 else labels
    present = (hot != 0).any(dim=0)
    if present.all():
        return similarity_from_features(features, labels, n_classes)
    known = similarity_from_features(features, hot[:, present], int(present.sum()))
    other = known[~torch.eye(len(known), dtype=torch.bool)]
    similarity = torch.full((n_classes, n_classes), float(other.mean()), dtype=known.dtype)
    similarity[present.nonzero(), present.nonzero()[:, 0]] = known
    similarity[~present, ~present] = known.diagonal().mean()
    return similarity


def _centers_of(loss_fn: nn.Module) -> Tensor:
    """Return the ±1 centers of a loss, on the CPU."""
    centers = loss_fn.centers
    assert isinstance(centers, Tensor)
    return centers.detach().cpu()


def _line(record: dict[str, Any], n_epochs: int) -> str:
    """Write an epoch for the terminal."""
    words = (
        f"epoch {record['epoch']}/{n_epochs}  loss {record['loss']:.4f}  {record['samples_per_second']:.0f} samples/s"
    )
    return words + (f"  mAP {record['map']:.4f}" if "map" in record else "")


def _contiguous(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state that safetensors can write: on the CPU, in one layout, no memory shared."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}


def _seed_all(seed: int, part: int) -> None:
    """Seed the global generators, which dropout and the weights of layers draw from."""
    words = random_stream(seed, RUN_STREAM, part).random_raw(3)
    torch.manual_seed(int(words[0] >> np.uint64(1)))
    np.random.seed(int(words[1] >> np.uint64(32)))  # noqa: NPY002 -- what libraries draw from
    random.seed(int(words[2]))
