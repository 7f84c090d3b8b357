"""What the Image Factory makes, and where it serves that."""

from __future__ import annotations

import pytest

from talosmake.inventory import canonical, factory, known_facts
from talosmake.inventory.factory import Factory, Images
from talosmake.inventory.schematic import PLAIN

URL = f"https://factory.talos.dev/image/{PLAIN}/v1.14.1"


@pytest.mark.parametrize(
    ("text", "host", "url"),
    [
        ("factory.example.com", "factory.example.com", "https://factory.example.com"),
        ("factory.lan:8443", "factory.lan:8443", "https://factory.lan:8443"),
        ("factory:8443", "factory:8443", "https://factory:8443"),
        ("localhost", "localhost", "https://localhost"),
        ("https://factory.lan/", "factory.lan", "https://factory.lan"),
        ("http://factory.lan:8080", "factory.lan:8080", "http://factory.lan:8080"),
        ("10.0.0.5:8443", "10.0.0.5:8443", "https://10.0.0.5:8443"),
        ("[fd00::5]:8443", "[fd00::5]:8443", "https://[fd00::5]:8443"),
    ],
)
def test_what_names_a_factory(text: str, host: str, url: str) -> None:
    form = canonical.image_factory(text)
    assert factory.is_named(form)
    found = factory.parsed(form)
    assert (found.host, found.url) == (host, url)
    assert Images(PLAIN, "v1.14.1", found).installer.startswith(f"{host}/metal-installer/")


@pytest.mark.parametrize(
    "text",
    [
        "factory",  # a user of Docker Hub's, to a registry's client
        "Factory.example.com",
        "factory.lan/images",
        "https://me:secret@factory.lan",
        "me@factory.lan",
        "ftp://factory.lan",
        "factory.lan:99999",
        "factory.lan.",
        "fd00::5",
        "https://",
        "https://factory.lan?a=b",
        "factory lan:80",
    ],
)
def test_what_names_none(text: str) -> None:
    assert not factory.is_named(canonical.image_factory(text))


def test_where_it_serves_what_it_makes() -> None:
    images = Images(PLAIN, "v1.14.1")
    assert images.installer == f"factory.talos.dev/metal-installer/{PLAIN}:v1.14.1"
    assert images.iso == f"{URL}/metal-amd64.iso"
    assert images.disk_image == f"{URL}/metal-amd64.raw.zst"
    assert (images.kernel, images.initramfs) == (f"{URL}/kernel-amd64", f"{URL}/initramfs-amd64.xz")


def test_for_secure_boot_and_another_architecture() -> None:
    images = Images(PLAIN, "v1.14.1", platform="nocloud", arch="arm64", secure_boot=True)
    assert images.installer == f"factory.talos.dev/nocloud-installer-secureboot/{PLAIN}:v1.14.1"
    assert images.iso == f"{URL}/nocloud-arm64-secureboot.iso"
    assert images.disk_image == f"{URL}/nocloud-arm64-secureboot.raw.xz"
    assert images.kernel == f"{URL}/kernel-arm64"


def test_of_a_platform_without_one() -> None:
    assert Images(PLAIN, "v1.14.1", platform="aws").iso == ""
    assert Images(PLAIN, "v1.14.1", platform="vultr").disk_image == ""
    assert Images(PLAIN, "v1.14.1", platform="digital-ocean").disk_image == (
        f"{URL}/digital-ocean-amd64.raw.gz"
    )


def test_without_tls_its_urls_say_so_and_its_installer_cannot() -> None:
    images = Images(PLAIN, "v1.14.1", Factory("127.0.0.1:8080", plain=True))
    assert images.iso.startswith("http://127.0.0.1:8080/image/")
    assert images.installer.startswith("127.0.0.1:8080/metal-installer/")


def test_the_schema_names_all_platforms_and_architectures() -> None:
    schema = known_facts.schema()["properties"]
    assert sorted(schema["TALOS_PLATFORM"]["enum"]) == sorted(factory.platforms())
    assert tuple(schema["TALOS_ARCH"]["enum"]) == factory.ARCHITECTURES


def test_no_platform_is_named_in_capitals_as_no_image_can_be() -> None:
    assert "equinixMetal" in factory.TABLE.read_text()
    assert "equinixMetal" not in factory.platforms()
