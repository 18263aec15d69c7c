/* A shared library, but no plugin. */
int something_else = 1;
