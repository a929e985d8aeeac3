"""What a classifier sees and where it errs: pictures (H, W, 3) uint8 and figures for a gallery.

wrong.png       test pictures taken for another class, the most confident first
confusion.png   which class was taken for which
filters.png     the first convolution's weights
maps.png        the layers' maps of one test picture
confused.json   the errors that are made most often
layers.json     where the time of an update goes, layer by layer
"""

import copy
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from playground.backbone import Backbone, to_unit
from playground.classifier import Classifier, Result, evaluate, evaluating
from playground.data import Pictures
from playground.frames import Frame
from playground.gallery import contact_sheet
from playground.media import INK, PANEL, draw_text, text_width, to_pixels, write_image
from playground.run import device_name, write_json

WRONG = 200  # pictures on wrong.png at most
LEAST_CERTAIN = 12  # shown where none is wrong
TILE_PX = 128  # to which small pictures are enlarged, about
NAMED_CLASSES = 20  # more are not named beside the confusion matrix
COLUMNS = 10
CONFUSED = 12  # kinds of errors listed
MAPS = 12  # channels shown of a layer
LAYERS = 24  # layers shown of a network
MAP_PX = 56
NAME_PX = 150  # for a layer's name beside its maps
TIMED_BATCH = 32  # pictures
TIMED_REPEATS = 7

# Dark to light through warm colours, for values from 0 to 1.
HEAT = np.array([(20, 21, 26), (94, 38, 66), (190, 72, 40), (240, 160, 60), (255, 246, 214)], float)


def draw_all(classifier: Classifier, pictures: Pictures, folder: Path) -> Result:
    """Look at the test pictures and write everything into a run's gallery."""
    result = evaluate(classifier, pictures)
    assert result is not None
    network, wrong = classifier.network, len(result.wrong)
    shown = f"all {wrong:,}" if wrong <= WRONG else f"{WRONG} of the {wrong:,}"
    example = to_unit(pictures.read(torch.tensor([0])))
    truth = pictures.classes[int(pictures.labels[0])]
    captions = {
        "wrong.png": f"{shown} test pictures taken for another class, the most confident first; "
        f"{len(result.labels):,} were looked at"
        if wrong
        else "no test picture is taken for another class; here are the least certain",
        "confusion.png": "what each class (row) was taken for (column)",
        "filters.png": "the first convolution's filters",
        "maps.png": f"a test picture ({truth}) as the layers see it: their liveliest maps",
    }
    drawn = {
        "wrong.png": wrong_sheet(pictures, result, WRONG),
        "confusion.png": confusion_picture(result.confusion(), result.classes),
        "filters.png": filters_picture(network),
        "maps.png": maps_picture(network, example),
    }
    for name, pixels in drawn.items():
        write_image(folder / name, pixels)
    write_json(folder / "captions.json", captions)
    write_json(folder / "confused.json", most_confused(result))
    batch = pictures.read(torch.arange(TIMED_BATCH) % len(pictures))
    write_json(folder / "layers.json", layer_times(network, to_unit(batch)))
    return result


def wrong_frames(pictures: Pictures, result: Result, limit: int) -> Iterator[Frame]:
    """Pictures taken for another class, the most confident first; the least certain if none is.

    Each with truth and guess as its text, enlarged so that they can be read below it.
    """
    sure, guess = result.probabilities.max(1)
    if len(result.wrong):
        order = result.wrong[sure[result.wrong].argsort(descending=True)][:limit]
    else:
        order = sure.argsort()[: min(limit, LEAST_CERTAIN)]
    for i, picture in zip(order.tolist(), pictures.read(order), strict=True):
        truth, taken = result.classes[int(result.labels[i])], result.classes[int(guess[i])]
        text = f"truth {truth}\nguess {taken}\n{100 * sure[i]:.0f} % sure"
        yield Frame(enlarged(to_pixels(picture), TILE_PX), text=text)


def wrong_sheet(pictures: Pictures, result: Result, limit: int) -> np.ndarray:
    """`wrong_frames` on one sheet."""
    frames = list(wrong_frames(pictures, result, limit))
    return contact_sheet([f.pixels for f in frames], COLUMNS, [f.text for f in frames])


def confusion_picture(matrix: Tensor, classes: tuple[str, ...]) -> np.ndarray:
    """The matrix (classes, classes), true class by row: errors warm, what is right in green."""
    counts = matrix.numpy()
    n = len(classes)
    named = n <= NAMED_CLASSES
    cell = 40 if named else max(3, 640 // n)
    share = counts / counts.sum(1, keepdims=True).clip(1)
    errors = share * (1 - np.eye(n))
    colours = heat(np.sqrt(errors / max(errors.max(), 1e-9)))  # the root shows the rare ones too
    right = np.diag(share)[:, None]
    green = (1 - right) * np.array(PANEL) + right * np.array((38, 92, 70))
    colours[np.arange(n), np.arange(n)] = green.astype(np.uint8)
    grid = colours.repeat(cell, 0).repeat(cell, 1)
    grid[::cell], grid[:, ::cell] = PANEL, PANEL
    if not named:
        return grid
    for row, column in zip(*counts.nonzero(), strict=True):
        text, light = f"{counts[row, column]:,}", errors[row, column] > errors.max() / 3
        x = column * cell + (cell + 1 - text_width(text, 13)) // 2
        y = row * cell + 13
        grid = draw_text(grid, text, (x, y), 13, PANEL if light else INK)
    longest = max(text_width(name, 13) for name in classes)
    margin = min(160, longest) + 12
    sheet = np.full((n * cell + margin + 8, n * cell + margin + 8, 3), PANEL, np.uint8)
    sheet[margin : margin + n * cell, margin : margin + n * cell] = grid
    rows = np.full((n * cell, margin, 3), PANEL, np.uint8)
    columns = rows.copy() if longest > cell else np.full((margin, n * cell, 3), PANEL, np.uint8)
    for i, name in enumerate(classes):
        rows = draw_text(rows, name, (max(2, margin - 8 - text_width(name, 13)), i * cell + 13), 13)
        if longest > cell:  # columns too narrow for their names: these run upwards
            columns = draw_text(columns, name, (8, i * cell + 13), 13)
        else:
            x = i * cell + (cell + 1 - text_width(name, 13)) // 2
            columns = draw_text(columns, name, (x, margin - 19), 13)
    sheet[margin : margin + n * cell, :margin] = rows
    sheet[:margin, margin : margin + n * cell] = np.rot90(columns) if longest > cell else columns
    return sheet


def most_confused(result: Result) -> dict[str, Any]:
    """The errors made most often; a chart for the page."""
    errors = result.confusion().fill_diagonal_(0)
    n = len(result.classes)
    order = errors.flatten().argsort(descending=True, stable=True)[:CONFUSED].tolist()
    rows = [
        {"name": f"{result.classes[i // n]} as {result.classes[i % n]}", "pictures": count}
        for i in order
        if (count := int(errors.flatten()[i]))
    ]
    return {"title": "Taken for another class most often", "unit": "pictures", "rows": rows}


def filters_picture(network: Backbone) -> np.ndarray:
    """The first convolution's weights: in colour for RGB, else its first channel in grey.

    0 is mid-grey; all share one scale, so that a filter that hardly acts looks flat.
    """
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    weight = first.weight.detach().cpu().float()  # (O, I, k, k)
    weight = weight if weight.shape[1] == 3 else weight[:, :1]
    weight = 0.5 + weight / weight.abs().max().clamp_min(1e-9) / 2
    tiles = [enlarged(to_pixels(kernel), MAP_PX) for kernel in weight]
    return contact_sheet(tiles, 16 if len(tiles) > 32 else 8)


@torch.inference_mode()
def maps_picture(network: Backbone, unit: Tensor) -> np.ndarray:
    """One row for each layer: its name, channels and size, and the maps that vary most.

    `unit` (1, C, H, W) in [0, 1]. Each row has its own scale, from its lowest value to its highest.
    """
    layers = list(network.channels)
    if len(layers) > LAYERS:
        layers = [layers[i] for i in np.linspace(0, len(layers) - 1, LAYERS).round().astype(int)]
    rows = [_map_row("picture", unit[0].float(), heated=False)]
    with evaluating(network):
        for name, maps in network.features(unit, layers).items():
            rows.append(_map_row(name, maps[0].float()))
    width = max(row.shape[1] for row in rows)
    sheet = np.full((sum(row.shape[0] for row in rows), width, 3), PANEL, np.uint8)
    y = 0
    for row in rows:
        sheet[y : y + row.shape[0], : row.shape[1]] = row
        y += row.shape[0]
    return sheet


def _map_row(name: str, maps: Tensor, heated: bool = True) -> np.ndarray:
    """(C, h, w) as a strip with the name on its left."""
    channels, height, width = maps.shape
    text = [name, f"{channels} x {height} x {width}"]
    if heated:
        liveliest = maps.flatten(1).std(1, correction=0).argsort(descending=True)[:MAPS]
        low, high = maps.min(), maps.max()
        shown = ((maps[liveliest] - low) / (high - low).clamp_min(1e-9)).cpu().numpy()
        tiles = [enlarged(heat(part), MAP_PX) for part in shown]
    else:
        tiles = [enlarged(to_pixels(maps), MAP_PX)]
    strip = contact_sheet(tiles, len(tiles))
    panel = np.full((strip.shape[0], NAME_PX, 3), PANEL, np.uint8)
    panel = draw_text(panel, text, (8, strip.shape[0] // 2 - 15), 13)
    return np.concatenate([panel, strip], axis=1)


def layer_times(network: Backbone, unit: Tensor) -> dict[str, Any]:
    """Milliseconds of each layer forward and backward, the head last; a chart for the page.

    Each layer runs alone on what the layer before made of `unit` (B, C, H, W); the median of
    TIMED_REPEATS. The network stays as it is.
    """
    network = copy.deepcopy(network).train().requires_grad_()
    device = next(network.parameters()).device
    stages: list[tuple[str, Any]] = [*network.stages(), (network.HEAD, network.logits)]
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in stages}
    for _ in range(TIMED_REPEATS):
        x = unit.to(device)
        for name, stage in stages:
            x = x.detach().requires_grad_()
            begun = _now(device)
            y = stage(x)
            made = _now(device)
            y.backward(torch.ones_like(y))
            taken[name].append((made - begun, _now(device) - made))
            x = y
    rows = [
        {
            "name": name,
            "forward": round(1e3 * median(forward for forward, _ in times), 4),
            "backward": round(1e3 * median(backward for _, backward in times), 4),
        }
        for name, times in taken.items()
    ]
    title = f"Time of {len(unit)} pictures by layer, {device_name(device.type)}"
    return {"title": title, "unit": "ms", "rows": rows, "shares": True}


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def heat(values: np.ndarray) -> np.ndarray:
    """(h, w) in [0, 1] -> (h, w, 3) uint8, dark to light."""
    stops = np.linspace(0, 1, len(HEAT))
    channels = [np.interp(values, stops, HEAT[:, i]) for i in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


def enlarged(pixels: np.ndarray, side_px: int) -> np.ndarray:
    """Enlarged by a whole number to about `side_px`, so that single pixels can be seen."""
    n = max(1, round(side_px / max(pixels.shape[:2])))
    return pixels.repeat(n, axis=0).repeat(n, axis=1)
