# Writes the built-in calibration text as a C array: embed_text.py OUT IN   Run by the build; the output is not committed.
import sys

data = open(sys.argv[2], 'rb').read()
lines = ['/* Generated from tools/compress/default_text.txt by embed_text.py. */', '#include "compress/default_text.h"', '', 'const char xq_default_text[] =']
for i in range(0, len(data), 32): # octal: right for signed and unsigned char
    lines.append('    "' + ''.join('\\%03o' % b for b in data[i:i + 32]) + '"')
lines += ['    ;', 'const size_t xq_default_text_bytes = %d;' % len(data), '']
open(sys.argv[1], 'w').write('\n'.join(lines))
