"""Checks a report of the comparison: its JSON, and that its page is well formed and shows every row.

python3 check_report.py REPORT.json REPORT.html
"""

import json
import sys
import xml.etree.ElementTree


def check(report, page):
    """Answers what is wrong, as lines."""
    wrong = []
    if not report["rows"]:
        wrong.append("there are no rows")
    if not report["machine"]["summary"] or not report["machine"]["built"] or not report["machine"]["versions"]:
        wrong.append("nothing is said of the machine")
    workloads = {}
    for row in report["rows"]:
        name = "{workload}: {case}, {class}, {quantity}, {subject}".format(**row)
        workloads.setdefault(row["workload"], []).append(row)
        if row["result"] == "measured":
            if not (row["samples"] > 0 and row["median"] >= 0 and row["rounds"] and row["unit"]):
                wrong.append(f"{name}: it has no figures")
            if row["quantity"].startswith("bytes of space") or "per fork" in row["quantity"]:
                continue
            if row["median"] == 0:
                wrong.append(f"{name}: it took nothing")
        elif not row.get("why"):
            wrong.append(f"{name}: nobody says why it has no figures")
        elif row["result"] == "failed":
            wrong.append(f"{name}: {row['why']}")
        elif row["role"] == "helios":
            wrong.append(f"{name}: Helios was skipped: {row['why']}")
    for name, rows in workloads.items():
        if not any(row["result"] == "measured" for row in rows):
            wrong.append(f"{name}: nothing was measured")
    # The page is written as XML is, but for its first line and a tag that HTML does not close.
    body = page.partition("\n")[2].replace('<meta charset="utf-8">', '<meta charset="utf-8"/>')
    tree = xml.etree.ElementTree.fromstring(body)
    subjects = [row for row in tree.iter("tr") if row.get("class") in ("helios", "peer", "ceiling")]
    if len(subjects) != len(report["rows"]):
        wrong.append(f"the page shows {len(subjects)} of {len(report['rows'])} rows")
    if not any(element.tag.endswith("svg") for element in tree.iter()):
        wrong.append("the page has no plots")
    return wrong


def main():
    report_path, page_path = sys.argv[1:]
    with open(report_path, encoding="utf-8") as file:
        report = json.load(file)
    with open(page_path, encoding="utf-8") as file:
        page = file.read()
    wrong = check(report, page)
    for line in wrong:
        print(line)
    if wrong:
        sys.exit(1)
    print(f"{len(report['rows'])} rows and {len(report['goals'])} goals are well formed")


if __name__ == "__main__":
    main()
