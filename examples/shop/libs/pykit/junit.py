"""Runs the tests below tests/ and writes junit.xml: python3 -m junit [file pattern]."""

import sys
import time
import unittest
from xml.etree import ElementTree


class Result(unittest.TextTestResult):
    """Notes each test with its time, and what was wrong with it."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.cases = []

    def startTest(self, test):
        super().startTest(test)
        name = test.id().rsplit(".", 1)
        case = ElementTree.Element("testcase", classname=name[0], name=name[-1])
        self.cases.append((case, time.monotonic()))

    def stopTest(self, test):
        case, began = self.cases[-1]
        case.set("time", f"{time.monotonic() - began:.3f}")
        super().stopTest(test)

    def note(self, kind, text):
        case = self.cases[-1][0] if self.cases else ElementTree.Element("testcase", name="set-up")
        if not self.cases:
            self.cases.append((case, time.monotonic()))
        ElementTree.SubElement(case, kind, message=text.strip().splitlines()[-1]).text = text

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.note("failure", self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self.note("error", self.errors[-1][1])

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.note("skipped", reason)


def main():
    pattern = sys.argv[1] if len(sys.argv) > 1 else "test*.py"
    tests = unittest.defaultTestLoader.discover("tests", pattern=pattern)
    result = unittest.TextTestRunner(verbosity=2, resultclass=Result).run(tests)
    suite = ElementTree.Element("testsuite", name="tests", tests=str(result.testsRun),
                                failures=str(len(result.failures)), errors=str(len(result.errors)))
    suite.extend(case for case, _ in result.cases)
    ElementTree.ElementTree(suite).write("junit.xml", encoding="utf-8", xml_declaration=True)
    sys.exit(0 if result.wasSuccessful() and result.testsRun else 1)


if __name__ == "__main__":
    main()
