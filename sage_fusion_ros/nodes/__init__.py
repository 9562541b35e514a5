"""ROS 2 nodes: parameters, topics, QoS, lifecycle, publishing. The only room that imports rclpy."""
