FORBIDDEN = ("requires_grad_", "backward", "torch.autograd", "torch.func")
