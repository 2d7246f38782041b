"""Medians, ratios, the tables on standard output, the JSON file."""

import json
import os
import statistics
import time

FIGURES = ("accepted_per_s", "end_to_end_per_s", "relay_cpu_ms", "tools_cpu_ms", "share_of_cores", "memory_mb")


def median_run(runs):
    """One row for several runs of a cell: the median of each figure by itself."""
    row = {figure: statistics.median(run[figure] for run in runs) for figure in FIGURES}
    for name in ("p50", "p99"):
        row[name] = statistics.median(run["latency_ms"][name] for run in runs)
    row["runs"] = len(runs)
    row["end_to_end_range"] = [min(r["end_to_end_per_s"] for r in runs), max(r["end_to_end_per_s"] for r in runs)]
    row["remarks"] = remarks(runs)
    return row


def remarks(runs):
    """What a reader must know before believing the figures; empty when all is well."""
    found = []
    for key in ("missing", "duplicates", "altered", "unpromised"):
        count = sum(run["ledger"][key] for run in runs)
        if count:
            found.append(f"{count} {key.upper()}")
    refused = sum(run["not_accepted"] for run in runs)
    if refused:
        found.append(f"{refused} not accepted")
    return found


def paired_ratio(ours, theirs, figure):
    """Median over the interleaved pairs, so that a slow minute of the machine hits both sides of a pair."""
    pairs = [(a[figure], b[figure]) for a, b in zip(ours, theirs) if b[figure]]
    return statistics.median(a / b for a, b in pairs) if pairs else None


def ratios(by_relay, ours, others):
    """{other: {figure: ours / other}}; for CPU and memory other / ours, so that more is always better for us."""
    result = {}
    for other in others:
        if ours not in by_relay or other not in by_relay:
            continue
        result[other] = {
            "accepted": paired_ratio(by_relay[ours], by_relay[other], "accepted_per_s"),
            "end_to_end": paired_ratio(by_relay[ours], by_relay[other], "end_to_end_per_s"),
            "cpu": paired_ratio(by_relay[other], by_relay[ours], "relay_cpu_ms"),
            "memory": paired_ratio(by_relay[other], by_relay[ours], "memory_mb"),
        }
    return result


HEADER = (f"{'relay':<14} {'accepted/s':>10} {'end-to-end/s':>12} {'(min-max)':>15} {'CPU ms/msg':>10} "
          f"{'tools ms':>8} {'of cores':>8} {'mem MB':>7} {'250 p50':>8} {'p99 ms':>8}")


def format_row(name, row):
    low, high = row["end_to_end_range"]
    line = (f"{name:<14} {row['accepted_per_s']:>10.0f} {row['end_to_end_per_s']:>12.0f} {f'{low:.0f}-{high:.0f}':>15} "
            f"{row['relay_cpu_ms']:>10.3f} {row['tools_cpu_ms']:>8.3f} {row['share_of_cores']:>7.0%} "
            f"{row['memory_mb']:>8.0f} {row['p50']:>8.2f} {row['p99']:>8.2f}")
    return line + "".join(f"  ! {remark}" for remark in row["remarks"])


def format_ratios(ours, found):
    lines = []
    for other, values in found.items():
        parts = [f"{key} {value:.2f}x" for key, value in values.items() if value is not None]
        lines.append(f"  {ours} against {other}: " + ", ".join(parts))
    return lines


def print_cell(name, rows, found, ours):
    print(f"\n{name}\n{HEADER}")
    for relay, row in rows.items():
        print(format_row(relay, row))
    for line in format_ratios(ours, found):
        print(line)
    print(end="", flush=True)


def print_latency(results):
    print("\nlatency of single messages, 4 KB (ms)")
    print(f"{'relay':<14} {'connection':<10} {'dot to 250: p50':>15} {'p99':>8} {'250 to sink: p50':>17} {'p99':>8}")
    for relay, result in results:
        to_250, to_sink = result["to_250_ms"], result["to_sink_ms"]
        print(f"{relay:<14} {'reused' if result['reuse'] else 'new':<10} {to_250['p50']:>15.2f} {to_250['p99']:>8.2f} "
              f"{to_sink.get('p50', 0):>17.2f} {to_sink.get('p99', 0):>8.2f}", flush=True)


def print_idle(results):
    print("\nidle sessions after EHLO")
    print(f"{'relay':<14} {'asked':>6} {'held':>6} {'ready s':>8} {'mem MB':>7} {'KB/session':>10} {'CPU ms/s':>8} "
          f"{'NOOP ok':>8}")
    for relay, r in results:
        print(f"{relay:<14} {r['sessions']:>6} {r['held']:>6} {r['seconds_to_ready']:>8.2f} {r['memory_mb']:>7.0f} "
              f"{r['kb_per_session']:>10.1f} {r['cpu_ms_per_s']:>8.2f} {r['noops_answered']:>8}", flush=True)


def write_json(directory, result):
    """bench-<time>.json, and bench.json as the latest. Returns the first one's path."""
    path = os.path.join(directory, time.strftime("bench-%Y%m%d-%H%M%S.json"))
    text = json.dumps(result, indent=1)
    for name in (path, os.path.join(directory, "bench.json")):
        with open(name, "w", encoding="utf-8") as f:
            f.write(text + "\n")
    return path
