"""Files and objects of neighbouring tools, one file each."""
