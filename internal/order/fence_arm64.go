package order

// LoadFence makes all loads before it happen before all loads and stores after it (litmus load-fence). An
// atomic read-modify-write is no substitute: without LSE it is a loop of LDAXR and STLXR, which lets
// earlier loads pass later ones.
func LoadFence()

// LoadBarrier is LoadFence where loads are not in program order anyway.
func LoadBarrier() { LoadFence() }
