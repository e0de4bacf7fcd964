"""check_spirv.py: every module that goes into the program is valid SPIR-V for Vulkan 1.1: check_spirv.py SPIRV-VAL MODULE..."""
import subprocess
import sys

validator, modules = sys.argv[1], sys.argv[2:]
failed = 0
for module in modules:
    answer = subprocess.run([validator, '--target-env', 'vulkan1.1', module], capture_output=True, text=True)
    if answer.returncode or answer.stdout or answer.stderr:
        failed += 1
        print('FAIL %s: %s%s' % (module, answer.stdout, answer.stderr))
print('%d modules, %d failed' % (len(modules), failed))
sys.exit(failed != 0 or not modules)
