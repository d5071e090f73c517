"""What a submission's process may not do, layer by layer. Linux only; elsewhere the layers say that they are off."""
