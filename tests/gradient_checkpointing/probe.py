FORBIDDEN = ("torch.utils.checkpoint", "torch.distributed")
