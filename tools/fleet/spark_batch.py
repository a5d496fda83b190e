#!/usr/bin/env python3
"""Answers a file of requests with `whit batch` on the machines of a Spark cluster; without --master, on this one with four executors.

    tools/fleet/spark_batch.py WHIT MODEL REQUESTS.jsonl -o ANSWERS.jsonl [--master spark://ADDRESS:7077] [--shards 16]

The file is the one that a single run writes. A shard whose executor dies is answered by another one. Needs the package pyspark, and Java.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path

import pyspark
from pyspark.sql import SparkSession
from shards import add_arguments, answer, joined, write


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--master", default="local-cluster[4,1,1024]")
    options = parser.parse_args()
    os.environ.setdefault("SPARK_HOME", str(Path(pyspark.__file__).parent))
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master(options.master).appName("whit batch").config("spark.ui.enabled", "false")
    # An executor that dies takes its shard with it, and no more.
    spark = builder.config("spark.task.maxFailures", "1000").getOrCreate()
    context = spark.sparkContext
    context.addPyFile(str(Path(__file__).parent / "shards.py"))
    requests = context.broadcast(Path(options.requests).read_bytes())
    whit, model, n, words = options.whit, options.model, options.shards, shlex.split(options.whit_options)
    shards = context.parallelize(range(1, n + 1), n)
    parts = shards.map(lambda shard: answer(whit, model, requests.value, shard, n, words)).collect()
    spark.stop()
    write(options.output, joined(parts))


if __name__ == "__main__":
    main()
