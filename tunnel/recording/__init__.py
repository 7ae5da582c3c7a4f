"""Recordings of what was done for service, on the bastion and on the appliance."""
