"""The bastion: appliances and engineers come in, are authorised, joined and recorded."""
