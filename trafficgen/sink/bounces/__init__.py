"""What the sink sends back after it has taken a message: bounces and complaints."""
