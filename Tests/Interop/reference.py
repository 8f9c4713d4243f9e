"""The same models in the hands of transformers and compressed-tensors, on the CPU."""

import torch
from transformers import AutoModelForCausalLM


def load(folder, dtype=torch.float32, **options):
    """The model; each of its parameters came from the files, and each tensor of the files went into it."""
    model, loading = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, output_loading_info=True, **options)
    assert not any(loading.values()), loading
    return model.eval()


@torch.inference_mode()
def logits(model, ids):
    return model(torch.tensor([ids])).logits[0].double().numpy()


@torch.inference_mode()
def nll(model, ids, beginning):
    """-ln p of each id of a window that starts with the begin-of-text token, in nats."""
    window = torch.tensor([beginning, *ids])
    predicted = model(window[None]).logits[0, :-1].double()
    return torch.nn.functional.cross_entropy(predicted, window[1:], reduction="none").numpy()


@torch.inference_mode()
def inputs(model, windows):
    """What each linear of the layers multiplies, name → [tokens, in]: all tokens of all windows."""
    found, hooks = {}, []

    def hook(name):
        return lambda _, arguments: found.setdefault(name, []).append(arguments[0][0])

    for name, module in model.named_modules():
        if name.endswith("_proj"):
            hooks.append(module.register_forward_pre_hook(hook(name)))
    for window in windows:
        model(torch.tensor([window]))
    for handle in hooks:
        handle.remove()
    return {name: torch.cat(parts).double().numpy() for name, parts in found.items()}


def without_activation_quantization(model):
    """compressed-tensors rounds the inputs of its linears; from here on it only expands their weights."""
    for module in model.modules():
        if hasattr(module, "quantization_scheme"):
            module.quantization_enabled = False
    return model
