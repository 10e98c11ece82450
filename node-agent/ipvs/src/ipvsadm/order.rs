//! The order in which ipvsadm 1.31 prints.
//!
//! It subtracts two unsigned numbers and looks at the sign of the `int`: 192.168.0.0 comes before 10.0.0.0, because they
//! are more than 2^31 apart. Addresses all around the number circle have no order at all then, and what is printed
//! depends on the order of the kernel's dump; such tables are compared as tables, not as text.

use std::net::IpAddr;

use crate::table::{DestinationConfig, DestinationKey, Protocol, Service, ServiceKey, Table};
use crate::uapi::IPPROTO_TCP;

pub(super) fn services(table: &Table) -> Vec<(ServiceKey, &Service)> {
    let services = table.services.iter().map(|(key, service)| (*key, service)).collect();
    merge_sort(services, |(left, _), (right, _)| not_after(&rank(left), &rank(right)))
}

pub(super) fn destinations(service: &Service) -> Vec<(DestinationKey, &DestinationConfig)> {
    let destinations = service
        .destinations
        .iter()
        .map(|(key, config)| (*key, config))
        .collect();
    merge_sort(destinations, |(left, _), (right, _)| {
        let (first, second) = (words(left.address), words(right.address));
        // The left one's family decides how much of both is compared.
        let count = if left.address.is_ipv4() { 1 } else { 4 };
        let mut left_numbers = first[..count].to_vec();
        let mut right_numbers = second[..count].to_vec();
        left_numbers.push(left.port.into());
        right_numbers.push(right.port.into());
        not_after(&left_numbers, &right_numbers)
    })
}

/// The numbers that are compared one after the other: mark, family, protocol, address, port.
fn rank(key: &ServiceKey) -> [u32; 8] {
    let family = u32::from(key.family().number());
    match key {
        ServiceKey::Address {
            protocol,
            address,
            port,
        } => {
            let [a, b, c, d] = words(*address);
            [0, family, protocol.number().into(), a, b, c, d, (*port).into()]
        }
        ServiceKey::FirewallMark { family: _, mark } => {
            let protocol = Protocol::from_number(IPPROTO_TCP).number().into();
            [mark.get(), family, protocol, 0, 0, 0, 0, 0]
        }
    }
}

fn words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(v4) => [v4.to_bits(), 0, 0, 0],
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h] = v6.segments().map(u32::from);
            [a << 16 | b, c << 16 | d, e << 16 | f, g << 16 | h]
        }
    }
}

/// Whether the first difference, as a signed number, is not positive.
fn not_after(left: &[u32], right: &[u32]) -> bool {
    let differences = left.iter().zip(right).map(|(l, r)| l.wrapping_sub(*r).cast_signed());
    differences
        .into_iter()
        .find(|difference| *difference != 0)
        .is_none_or(|first| first < 0)
}

/// glibc's `qsort`. The standard library's may panic where an order contradicts itself, as this one can.
fn merge_sort<T>(mut items: Vec<T>, not_after: impl Fn(&T, &T) -> bool + Copy) -> Vec<T> {
    if items.len() < 2 {
        return items;
    }
    let right = items.split_off(items.len() / 2);
    let mut left = merge_sort(items, not_after).into_iter().peekable();
    let mut right = merge_sort(right, not_after).into_iter().peekable();
    let mut sorted = Vec::with_capacity(left.len() + right.len());
    loop {
        let next = match (left.peek(), right.peek()) {
            (Some(l), Some(r)) if not_after(l, r) => left.next(),
            (_, Some(_)) => right.next(),
            (_, None) => left.next(),
        };
        match next {
            Some(item) => sorted.push(item),
            None => return sorted,
        }
    }
}
