"""One pair in, one result out: numpy and OpenCV only."""
