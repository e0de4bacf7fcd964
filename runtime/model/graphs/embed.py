# Writes the built-in graph texts as a C table: embed.py OUT FILE...   Run by the build; the output is not committed.
import os
import sys

out, files = sys.argv[1], sorted(sys.argv[2:])
lines = ['/* Generated from runtime/model/graphs by embed.py. */', '#include "model/families.h"', '']
rows = []
for path in files:
    name = os.path.splitext(os.path.basename(path))[0]
    data = open(path, 'rb').read()
    lines.append('static const char text_%s[] = {' % name)
    for i in range(0, len(data), 24):
        lines.append('    ' + ''.join('%d,' % b for b in data[i:i + 24]))
    lines.append('    0};')
    rows.append('    {"%s", text_%s, %d},' % (name, name, len(data)))
lines += ['', 'const struct bl_family bl_families[] = {'] + rows + ['};', 'const uint32_t bl_n_families = %du;' % len(rows), '']
open(out, 'w').write('\n'.join(lines))
