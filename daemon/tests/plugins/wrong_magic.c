/* Exports the name, and something else under it. */
const char hark_plugin[128] = "not a plugin at all, although it is called one";
