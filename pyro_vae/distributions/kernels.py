"""A kernel that torch lacks: the shape of the gradient of its gamma sampler.

Without it a loss with such draws is exported and then cannot be compiled. Draws from Gamma, Beta,
Student-t, Dirichlet and the power spherical need it. Where torch brings its own, that is kept.
"""

import torch

_library = torch.library.Library("aten", "IMPL", "Meta")
if not torch._C._dispatch_has_kernel_for_dispatch_key("aten::_standard_gamma_grad", "Meta"):
    _library.impl("_standard_gamma_grad", lambda alpha, draw: torch.empty_like(draw))
