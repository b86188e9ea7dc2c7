package order

// LoadBarrier is LoadFence where loads are not in program order anyway. Here it does nothing: loads are
// in order, apart from those of string instructions.
func LoadBarrier() {}
