"""What these tests share: a tiny prior, small pictures, the command line in this process."""

from command_line import headwater, labels, mask, one_thread, pictures, prior, repaint

__all__ = ["headwater", "labels", "mask", "one_thread", "pictures", "prior", "repaint"]
