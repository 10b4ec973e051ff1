"""The Gradio page: one element that the widgets of `static/` fill, and the endpoints beside it.

One widget and not many of Gradio's components: sliders, canvases and tabs share one latent, and
pictures are drawn from it in the browser, sixty times a second, without a round trip.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

_SYSTEM_FONTS = ("ui-sans-serif", "system-ui", "sans-serif")
_SYSTEM_MONO_FONTS = ("ui-monospace", "Consolas", "monospace")

_MOUNT_WIDGETS = """
(async () => {
  const { mount } = await import("/zoo/static/app.mjs");
  await mount(element);
})();
"""


def build_page(register_endpoints: Callable[[], None]) -> gr.Blocks:
    """Return the page.

    Args:
        register_endpoints: Called within the page, to add its `gr.api` endpoints.
    """
    page: gr.Blocks = gr.Blocks(title="Autoencoder Zoo", analytics_enabled=False)
    with page:
        gr.HTML('<p role="status">…</p>', elem_id="zoo", js_on_load=_MOUNT_WIDGETS, apply_default_css=False)
        register_endpoints()
    return page


def mount_arguments() -> dict[str, Any]:
    """Return what `gr.mount_gradio_app` is given for the page's look: nothing from another host."""
    theme = gr.themes.Default(font=_SYSTEM_FONTS, font_mono=_SYSTEM_MONO_FONTS)
    sheets = "".join(f'<link rel="stylesheet" href="/zoo/static/{name}.css">' for name in ("page", "tabs"))
    return {"theme": theme, "head": sheets, "footer_links": []}
