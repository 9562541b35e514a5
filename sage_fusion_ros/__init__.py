"""Live thermal + RGB fusion for ROS 2."""
