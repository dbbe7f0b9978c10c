"""The programs that `fico bench` measures with: ordinary servers that know nothing of Fico."""
