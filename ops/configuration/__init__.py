"""The configuration as operators change it: pending copies, versions, and the commit that puts one in force."""
