/* Exports the symbol, but it is not a plugin descriptor. */
const char hark_plugin[128] = "not a plugin at all, although it is called one";
