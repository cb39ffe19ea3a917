"""The pages of libmote's manual: complete, true to the headers, and their programs run."""
import re

import pytest

import library
import machine

DOCS = machine.TREE / "docs"
PAGES = [DOCS / "libmote.3", *sorted(DOCS.glob("mote_*.3"))]
HEADERS = {name: (machine.TREE / "include/mote" / name).read_text()
           for name in ("mote.h", "state.h")}


def plain(mdoc):
    """Text of a page as it is read: roff's escapes undone."""
    return mdoc.replace("\\&", "").replace("\\e", "\\")


def code(header):
    """A header without its comments and directives."""
    return re.sub(r"^#.*$", "", re.sub(r"/\*.*?\*/", "", header, flags=re.S), flags=re.M)


def spaces(text):
    return " ".join(text.split())


def prototypes():
    """{function: its declaration}"""
    found = re.findall(r"^((?:const )?(?:struct )?\w+ \**)(mote_\w+)\(([^;{]*)\);",
                       code(HEADERS["mote.h"]), re.M)
    return {name: spaces(f"{result}{name}({arguments})") for result, name, arguments in found}


def constants():
    """All macros but the guards, and all enumerators."""
    names = set()
    for header in HEADERS.values():
        names |= set(re.findall(r"^#define (MOTE_\w+)[ \t]+\S", header, re.M))
        for body in re.findall(r"enum \w+ \{(.*?)\}", code(header), re.S):
            names |= set(re.findall(r"\b(MOTE_\w+)", body))
    return names


def structs():
    """{name: definition}"""
    return {m[1]: spaces(m[0]) for header in HEADERS.values()
            for m in re.finditer(r"^struct (\w+) \{.*?^\}[^;]*;", header, re.M | re.S)}


def text_of(page):
    return plain(page.read_text())


def everything():
    return "\n".join(map(text_of, PAGES))


def blocks(page):
    """The literal blocks of a page's EXAMPLES."""
    examples = page.read_text().split(".Sh EXAMPLES\n")[1].split("\n.Sh ")[0]
    return [plain(block) + "\n" for block in
            re.findall(r"^\.Bd -literal\n(.*?)\n\.Ed$", examples, re.M | re.S)]


def names_of(page):
    """What a page is about."""
    return set(re.findall(r"^\.Nm (\w+)", page.read_text().split(".Sh SYNOPSIS")[0], re.M))


def test_headers_are_understood():
    assert len(prototypes()) == len(re.findall(r"\bmote_\w+\(", code(HEADERS["mote.h"])))
    assert {"mote_vcpu_state", "mote_vcpu_run", "mote_error"} <= set(prototypes())
    assert {"MOTE_RWX", "MOTE_CPUID_MAX", "MOTE_EXIT_FAIL", "MOTE_R15"} <= constants()
    assert {"mote_state", "mote_exit", "mote_seg"} <= set(structs())


def test_functions_have_their_prototypes_in_a_synopsis():
    shown = {}
    for page in PAGES:
        synopsis = text_of(page).split(".Sh SYNOPSIS\n")[1].split("\n.Sh ")[0]
        for result, name, arguments in re.findall(r"^\.Ft (.*)\n\.Fn (\w+) (.*)$", synopsis, re.M):
            assert name not in shown, f"{name} is in two pages"
            listed = re.findall(r'"([^"]*)"|(\S+)', arguments)
            listed = ", ".join(a or b for a, b in listed)
            result = result.strip('"')
            shown[name] = spaces(f"{result}{'' if result.endswith('*') else ' '}{name}({listed})")
    assert shown == prototypes()


def test_constants_are_described():
    described = {name for page in PAGES
                 for line in re.findall(r"^\.(?:It )?Dv (.*)$", text_of(page), re.M)
                 for name in re.findall(r"MOTE_\w+", line)}
    missing = constants() - described
    assert not missing, sorted(missing)


def test_structures_are_shown_as_they_are():
    text = spaces(everything())
    missing = [name for name, definition in structs().items() if definition not in text]
    assert not missing


def test_nothing_else_is_described():
    known = set(prototypes()) | constants() | set(structs())
    known |= set(re.findall(r"^enum (\w+)", "\n".join(HEADERS.values()), re.M))
    known |= {"mote_machine", "mote_vcpu"}
    strange = set(re.findall(r"\b(?:mote|MOTE)_\w+", everything())) - known
    # The titles of pages are capitals.
    assert not {name for name in strange if name.lower() not in known}


def test_each_function_has_a_page():
    built = library.BUILD / "docs"
    for name in prototypes():
        page = DOCS / f"{name}.3"
        if not page.exists():
            target = (built / f"{name}.3").read_text()
            assert re.fullmatch(r"\.so man3/\w+\.3\n", target), name
            page = DOCS / target.split("/")[1].strip()
        if page.name != "libmote.3":
            assert name in names_of(page), f"{name} leads to {page.name}"


def test_the_smallest_program_is_the_example():
    example = machine.TREE / "examples/smallest.c"
    assert blocks(DOCS / "libmote.3")[0] == example.read_text()


def like(pattern, text):
    """`...` in the pattern is anything, or any lines."""
    parts = (re.escape(part) for part in pattern.split("..."))
    return re.fullmatch("(?s:.*)".join(parts), text)


@pytest.mark.parametrize("accel", library.ACCELS)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_program_prints_what_its_page_says(page, accel, tmp_path):
    library.need_accel(accel)
    if accel == "kvm" and page.stem == "mote_vcpu_set_debug" and library.is_emulated():
        pytest.skip("this /dev/kvm runs ring 0 on an emulator")
    program, output = blocks(page)
    assert program.startswith("#include") or program.startswith("/*")
    source = tmp_path / "program.c"
    source.write_text(program)
    done = machine.execute([library.link(source, tmp_path / "program"), accel])
    assert done.status == 0 and not done.err, done
    assert like(output, done.out), done
