"""check_spirv.py: every module of the program, as it is unpacked, is valid SPIR-V for Vulkan 1.1 and, but for the numbers of ids, what the compiler
made: check_spirv.py SPIRV-VAL SPIRV-OPT SPIRV-DUMP MODULE..."""
import pathlib
import subprocess
import sys
import tempfile

validator, optimiser, dump, modules = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
failed = 0


def compacted(path):
    return subprocess.run([optimiser, '--compact-ids', path, '-o', '-'], capture_output=True, check=True).stdout


with tempfile.TemporaryDirectory() as folder:
    subprocess.run([dump, folder], check=True)
    for module in modules:
        unpacked = pathlib.Path(folder) / pathlib.Path(module).name
        answer = subprocess.run([validator, '--target-env', 'vulkan1.1', unpacked], capture_output=True, text=True)
        what = answer.stdout + answer.stderr
        if answer.returncode == 0 and not what and compacted(unpacked) != compacted(module):
            what = 'is not what the compiler made'
        if answer.returncode or what:
            failed += 1
            print('FAIL %s: %s' % (module, what))
print('%d modules, %d failed' % (len(modules), failed))
sys.exit(failed != 0 or not modules)
