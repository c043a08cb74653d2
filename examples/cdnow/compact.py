#!/usr/bin/env python3
"""compact.py RAW >purchases.csv: packs cdnow_master.txt into the file of this folder.

RAW has one fixed-width line a purchase: customer, date (YYYYMMDD), number of CDs, US dollars.
The result has one CSV line a customer: customer, and their purchases in the order of RAW, each as
day:cds:cents with the day counted from 1997-01-01. The same input always gives the same bytes.
"""

import datetime
import decimal
import sys

FIRST_DAY = datetime.date(1997, 1, 1)


def purchases(lines):
    """(customer, day, CDs, cents) for each line of RAW but the heading."""
    for line in lines:
        fields = line.split()
        if not fields or fields[0] == "customer_id":
            continue
        customer, date, cds, dollars = fields
        day = (datetime.datetime.strptime(date, "%Y%m%d").date() - FIRST_DAY).days
        cents = decimal.Decimal(dollars) * 100
        if cents != cents.to_integral_value():
            sys.exit(f"not whole cents: {line.strip()}")
        yield customer, day, int(cds), int(cents)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    packed = {}
    with open(sys.argv[1], encoding="ascii") as raw:
        for customer, day, cds, cents in purchases(raw):
            packed.setdefault(customer, []).append(f"{day}:{cds}:{cents}")
    print("customer,purchases")
    for customer in sorted(packed):
        print(f"{customer},{' '.join(packed[customer])}")


if __name__ == "__main__":
    main()
