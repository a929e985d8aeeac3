"""Generator and critics: the paper's by hand, sizes, labels, what learns and what does not."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from generators import gan_losses, gan_nets
from generators.dcgan import DCGAN2015, EXAMPLE, DCGANConfig
from generators.dreamer import Plan
from generators.gan_nets import Generator, critic
from playground.backbones.dcgan import STD
from playground.errors import UserError

WIDTH = 4


def paper() -> tuple[nn.Sequential, nn.Sequential]:
    """Generator and discriminator for 64x64, written out: pictures in ±1, latent numbers too.

    Radford et al., section 3 and figure 1; the discriminator mirrors the generator.
    """
    down = nn.Conv2d

    def up(before: int, after: int) -> nn.Module:
        return nn.ConvTranspose2d(before, after, 5, 2, 2, output_padding=1, bias=False)

    generator = nn.Sequential(
        nn.ConvTranspose2d(100, 1024, 4, bias=False), nn.BatchNorm2d(1024), nn.ReLU(),
        up(1024, 512), nn.BatchNorm2d(512), nn.ReLU(),
        up(512, 256), nn.BatchNorm2d(256), nn.ReLU(),
        up(256, 128), nn.BatchNorm2d(128), nn.ReLU(),
        up(128, 3), nn.Tanh(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        down(3, 128, 5, 2, 2, bias=False), nn.LeakyReLU(0.2),
        down(128, 256, 5, 2, 2, bias=False), nn.BatchNorm2d(256), nn.LeakyReLU(0.2),
        down(256, 512, 5, 2, 2, bias=False), nn.BatchNorm2d(512), nn.LeakyReLU(0.2),
        down(512, 1024, 5, 2, 2, bias=False), nn.BatchNorm2d(1024), nn.LeakyReLU(0.2),
        down(1024, 1, 4, 1, 0, bias=False), nn.Sigmoid(),
    )  # fmt: skip
    return generator, discriminator


def example() -> tuple[nn.Sequential, nn.Sequential]:
    """The same in PyTorch's example: 64 filters and 4x4 kernels."""
    up, down = nn.ConvTranspose2d, nn.Conv2d
    generator = nn.Sequential(
        up(100, 512, 4, 1, 0, bias=False), nn.BatchNorm2d(512), nn.ReLU(),
        up(512, 256, 4, 2, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU(),
        up(256, 128, 4, 2, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU(),
        up(128, 64, 4, 2, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        up(64, 3, 4, 2, 1, bias=False), nn.Tanh(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        down(3, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2),
        down(64, 128, 4, 2, 1, bias=False), nn.BatchNorm2d(128), nn.LeakyReLU(0.2),
        down(128, 256, 4, 2, 1, bias=False), nn.BatchNorm2d(256), nn.LeakyReLU(0.2),
        down(256, 512, 4, 2, 1, bias=False), nn.BatchNorm2d(512), nn.LeakyReLU(0.2),
        down(512, 1, 4, 1, 0, bias=False), nn.Sigmoid(),
    )  # fmt: skip
    return generator, discriminator


def by_layer(network: nn.Module, wanted: Any) -> list[nn.Parameter]:
    """The weights of the layers of these kinds, in running order."""
    return [
        p for m in network.modules() if isinstance(m, wanted) for p in m.parameters(recurse=False)
    ]


def in_order(network: nn.Module) -> list[nn.Parameter]:
    """Convolutions' weights, then the batch norms': the order within each kind is the running one.

    A generator of ours keeps its first and last convolution beside the list of the others.
    """
    if isinstance(network, Generator):
        convs = [conv.weight for conv in (network.first, *network.convs, network.last)]
    else:
        convs = by_layer(network, nn.Conv2d | nn.ConvTranspose2d)
    return [*convs, *by_layer(network, nn.BatchNorm2d)]


# preset, its reference, how many parameters the two have: of the example as it prints them, of the
# paper 100 1024 16 + (1024 512 + 512 256 + 256 128 + 128 3) 25 + 2 (1024 + 512 + 256 + 128) and
# (3 128 + 128 256 + 256 512 + 512 1024) 25 + 1024 16 + 2 (256 + 512 + 1024)
PAPERS = {
    "dcgan2015": (DCGAN2015, paper, 18_855_040, 17_232_768),
    "example": (EXAMPLE, example, 3_576_704, 2_765_568),
}


@pytest.fixture(scope="module", params=list(PAPERS))
def papers(request: pytest.FixtureRequest) -> Any:
    """(our generator, our critic, the reference's two), of the same weights, and pictures."""
    torch.manual_seed(0)
    c: DCGANConfig
    c, reference, *counts = PAPERS[request.param]
    ours = [
        Plan(c.size, 3, c.latent, c.width, (), c.modulated, c.kernel).build(),
        critic(c.critic, c.size, 3, c.critic_width, c.norm, 0, c.kernel),
    ]
    assert [sum(p.numel() for p in network.parameters()) for network in ours] == counts
    theirs = reference()
    with torch.no_grad():
        for own, other in zip(ours, theirs, strict=True):
            for a, b in zip(in_order(own), in_order(other), strict=True):
                b.copy_(a)
    for network in (*ours, *theirs):
        network.double()  # or kinks of ReLUs that rounding moves are all that is compared
    return *ours, *theirs, torch.rand(4, 3, 64, 64).double(), torch.randn(4, 100).double()


def test_the_paper_s_networks_have_the_paper_s_layers(papers):
    generator, judge, their_generator, their_judge, *_ = papers
    for ours, theirs in ((generator, their_generator), (judge, their_judge)):
        assert [p.shape for p in in_order(ours)] == [p.shape for p in in_order(theirs)]


@torch.no_grad()
def test_the_paper_s_first_weights(papers):
    generator, judge, *_ = papers
    for network in (generator, judge):
        for p in by_layer(network, nn.Conv2d | nn.ConvTranspose2d):
            assert abs(p.mean()) < 0.1 * STD and p.std() == pytest.approx(STD, rel=0.1)
        gains, shifts = zip(*(m.parameters() for m in network.modules()
                              if isinstance(m, nn.BatchNorm2d)), strict=True)  # fmt: skip
        assert torch.cat(gains).mean() == pytest.approx(1, abs=0.01)
        assert torch.cat(gains).std() == pytest.approx(STD, rel=0.2)
        assert not torch.cat(shifts).any()


def test_the_paper_s_losses_and_gradients(papers):
    generator, judge, their_generator, their_judge, real, noise = papers
    bce, ones, zeros = nn.BCELoss(), torch.ones(4).double(), torch.zeros(4).double()

    fake = generator(noise)
    their_fake = their_generator(noise[:, :, None, None])
    torch.testing.assert_close(fake * 2 - 1, their_fake, rtol=1e-4, atol=1e-5)
    assert fake.min() >= 0 and fake.max() <= 1

    own = gan_losses.critic_loss("bce", judge(real), judge(fake.detach()))
    theirs = bce(their_judge(real * 2 - 1).view(-1), ones)
    theirs = theirs + bce(their_judge(their_fake.detach()).view(-1), zeros)
    torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-5)
    same_gradients(own, judge, theirs, their_judge)

    own = gan_losses.generator_loss("bce", None, judge(fake))
    theirs = bce(their_judge(their_fake).view(-1), ones)
    torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-5)
    same_gradients(own, generator, theirs, their_generator)


def same_gradients(own: Any, ours: nn.Module, theirs: Any, other: nn.Module) -> None:
    found = torch.autograd.grad(own, in_order(ours), retain_graph=True)
    expected = torch.autograd.grad(theirs, in_order(other), retain_graph=True)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8 * float(b.abs().max()))


@pytest.mark.parametrize("kernel", [4, 5])
@pytest.mark.parametrize("size", gan_nets.SIZES)
@pytest.mark.parametrize("modulated", [False, True])
def test_sizes_of_generators(size, modulated, kernel):
    made = Generator(size, 3, 8, WIDTH, modulated=modulated, kernel=kernel)
    x = made(torch.randn(2, 8))
    assert x.shape == (2, 3, size, size) and x.dtype == torch.float32
    assert x.min() >= 0 and x.max() <= 1 and x.std() > 0
    assert Generator(size, 1, 8, WIDTH, modulated=modulated)(torch.randn(2, 8)).shape[1] == 1


@pytest.mark.parametrize("size", gan_nets.SIZES)
@pytest.mark.parametrize("kind", ["classic", "projected"])
def test_sizes_of_critics(size, kind):
    made = critic(kind, size, 3, 1 / 16, "spectral", 0)
    places = sum((size // stride) ** 2 for stride in (4, 8, 16, 32))
    x = torch.rand(2, 3, size, size)
    assert made(x).shape == (2, 1 if kind == "classic" else places)
    assert critic(kind, size, 1, 1 / 16, "spectral", 0, kernel=5)(x[:, :1]).shape[0] == 2


def test_a_kernel_that_is_none():
    for make in (
        lambda: Generator(kernel=3),
        lambda: critic("classic", 32, 3, 1.0, "batch", 0, kernel=3),
    ):
        with pytest.raises(UserError, match=r"kernel is 4 or 5, not 3\.$"):
            make()


def test_a_size_that_is_none():
    for make in (lambda: Generator(48), lambda: critic("classic", 48, 3, 1.0, "batch", 0)):
        with pytest.raises(UserError, match=r"^--size is 32, 64 or 128 pixels here, not 48\.$"):
            make()


def test_the_paper_s_generator_knows_no_classes():
    with pytest.raises(UserError, match="--modulated"):
        Generator(32, classes=2)


def test_grounds_are_as_they_were_given_and_drawn_over():
    torch.manual_seed(0)
    made = Generator(32, 3, 8, WIDTH, classes=2, modulated=True, grounds=True)
    noise, labels = torch.randn(4, 8), torch.tensor([0, 1, 1, 0])
    pixels = torch.randint(-60, 310, (2, 3, 32, 32)).clamp_(0, 255).byte()  # with black and white
    made.draw_on(pixels)
    grounds = pixels / 255
    drawn = made(noise, labels)
    for where in (grounds[labels] == 0, grounds[labels] == 1):
        (slope,) = torch.autograd.grad(drawn[where].sum(), made.last.bias, retain_graph=True)
        assert (slope > 0.05 * where.sum((0, 2, 3))).all()  # of the most, 0.5 / LEEWAY
    with torch.no_grad():
        made.last.weight.zero_()
        torch.testing.assert_close(made(noise, labels), grounds[labels], rtol=0, atol=1e-6)
        made.last.bias.fill_(0.3)
        assert made(noise, labels).max() > 1.01  # a critic sees it
        assert made.eval()(noise, labels).max() == 1


def test_grounds_of_older_files_are_read():
    torch.manual_seed(0)
    made, other = (
        Generator(32, 3, 8, WIDTH, classes=2, modulated=True, grounds=True) for _ in range(2)
    )
    made.draw_on(torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8))
    older = {**made.state_dict(), "grounds": torch.atanh((made.grounds / 255 * 2 - 1) * 0.9).half()}
    other.load_state_dict(older)
    assert torch.equal(other.grounds, made.grounds) and older["grounds"].dtype == torch.half


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_blend_is_drawn_in_the_network_s_own_precision(dtype):
    made = Generator(32, 3, 8, WIDTH, classes=2, modulated=True, grounds=True).to(dtype).eval()
    half = made.blend(
        torch.randn(1, 8, dtype=dtype), torch.tensor([0, 1]), torch.tensor([[0.5, 0.5]])
    )
    assert half.dtype == dtype


@pytest.mark.parametrize("grounds", [False, True])
def test_labels_change_what_a_generator_draws(grounds):
    torch.manual_seed(0)
    made = Generator(32, 3, 8, WIDTH, classes=3, modulated=True, grounds=grounds).eval()
    if grounds:
        made.draw_on(torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8))
    noise = torch.randn(4, 8)
    a, b = (made(noise, torch.full((4,), label)) for label in (0, 2))
    assert (a - b).abs().mean() > 1e-3
    assert torch.equal(a, made(noise, torch.zeros(4, dtype=torch.int64)))
    both = torch.tensor([0, 2])
    halfway = made.blend(noise, both, torch.tensor([[0.5, 0.5]]).expand(4, -1))
    assert not torch.equal(halfway, a) and not torch.equal(halfway, b)
    ends = [
        made.blend(noise, both, torch.tensor([share]).expand(4, -1))
        for share in ([1.0, 0], [0, 1.0])
    ]
    for end, alone in zip(ends, (a, b), strict=True):
        torch.testing.assert_close(end, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["classic", "projected"])
def test_labels_change_what_a_critic_thinks_once_it_learned(kind):
    torch.manual_seed(0)
    made = critic(kind, 32, 3, 1 / 16, "batch", 3).eval()
    x = torch.rand(2, 3, 32, 32)
    one, other = torch.zeros(2, dtype=torch.int64), torch.full((2,), 2)
    assert torch.equal(made(x, one), made(x, other))  # at first it has no opinion of classes
    directions = [p for name, p in made.named_parameters() if name.startswith("labels")]
    gradients = torch.autograd.grad(made(x, other).sum(), directions)
    for gradient in gradients:
        assert gradient[2].abs().sum() > 0 and not gradient[:2].any()
    with torch.no_grad():
        for direction, gradient in zip(directions, gradients, strict=True):
            direction.add_(gradient)
    assert (made(x, other) > made(x, one)).all()


def test_a_projected_critic_s_features_do_not_learn_but_pass_gradients_on():
    made = critic("projected", 32, 3, 1.0, None, 0).train()
    assert not made.backbone.training  # whatever is said
    x = torch.rand(2, 3, 32, 32, requires_grad=True)
    made(x).mean().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    learned = {name.split(".")[0] for name, p in made.named_parameters() if p.requires_grad}
    assert learned == {"bodies", "heads"}
    for name, p in made.named_parameters():
        assert (p.grad is not None and p.grad.abs().sum() > 0) == p.requires_grad, name


def test_all_scales_have_their_say():
    made = critic("projected", 64, 3, 1.0, None, 0).eval()
    x = torch.rand(1, 3, 64, 64)
    places = made(x)
    for i in range(4):
        with torch.no_grad():
            made.heads[i].bias.add_(1)
    assert torch.allclose(made(x), places + 1, atol=1e-5)


def test_spectral_norm_is_everywhere_and_bounds():
    torch.manual_seed(0)
    classic = critic("classic", 32, 3, 1 / 8, "spectral", 0)
    assert all(is_parametrized(m, "weight") for m in classic.modules() if isinstance(m, nn.Conv2d))
    projected = critic("projected", 32, 3, 1.0, None, 0)
    for learned in (*projected.bodies, *projected.heads):
        assert all(
            is_parametrized(m, "weight") for m in learned.modules() if isinstance(m, nn.Conv2d)
        )
    labelled = critic("classic", 32, 3, 1 / 8, "spectral", 5)
    for m in (classic.backbone.conv2, classic.head, labelled.labels):
        largest = torch.linalg.matrix_norm(m.weight.detach().flatten(1), 2)
        assert float(largest) == pytest.approx(1, abs=0.1)


def test_critics_of_before_are_read_whose_labels_had_no_spectral_norm():
    def of(norm):
        torch.manual_seed(1)
        return critic("classic", 32, 3, 1 / 8, norm, 5)

    now = of("spectral")
    before = now.state_dict()
    for name in [name for name in before if name.startswith("labels.")]:
        del before[name]
    before["labels.weight"] = learned = torch.randn(5, now.backbone.out_channels)
    now.load_state_dict(before)
    assert torch.equal(now.labels.parametrizations.weight.original, learned)
    task = nn.ModuleDict({"critic": of("spectral")})  # as a part of a training
    task.load_state_dict({f"critic.{name}": value for name, value in before.items()})
    assert torch.equal(task["critic"].labels.parametrizations.weight.original, learned)
    again = of("spectral")
    again.load_state_dict(now.state_dict())
    plain = of("batch")
    plain.load_state_dict(plain.state_dict())


def test_double_precision():
    made = Generator(32, 3, 8, WIDTH, classes=2, modulated=True).double()
    labels = torch.tensor([0, 1])
    x = made(torch.randn(2, 8), labels)  # noise comes in single precision
    assert x.dtype == torch.float64
    assert critic("classic", 32, 3, 1 / 16, "spectral", 2).double()(x, labels).isfinite().all()


def test_pictures_are_whole_floats_under_autocast():
    made = Generator(32, 3, 8, WIDTH, modulated=True)
    with torch.autocast("cpu", torch.bfloat16):
        x = made(torch.randn(4, 8))
    assert x.dtype == torch.float32
