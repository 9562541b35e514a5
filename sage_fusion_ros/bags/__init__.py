"""Bags made of recordings, and bags fused offline: rosbag2 written and read without ROS."""
