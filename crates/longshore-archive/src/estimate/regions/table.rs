//! The regions that are known, with rough coordinates.

use super::Continent::{self, Africa, Asia, Europe, NorthAmerica, Oceania, SouthAmerica};
use super::Region;

/// By provider. What is not here has no distance and no prices of its own.
pub(super) const REGIONS: &[Region] = &[
    aws("us-east-1", "Northern Virginia", "US", NorthAmerica, (39.0, -77.5)),
    aws("us-east-2", "Columbus", "US", NorthAmerica, (40.0, -83.0)),
    aws("us-west-1", "San Francisco", "US", NorthAmerica, (37.4, -121.9)),
    aws("us-west-2", "Boardman, Oregon", "US", NorthAmerica, (45.8, -119.7)),
    aws("ca-central-1", "Montreal", "CA", NorthAmerica, (45.5, -73.6)),
    aws("sa-east-1", "São Paulo", "BR", SouthAmerica, (-23.5, -46.6)),
    aws("eu-west-1", "Dublin", "IE", Europe, (53.3, -6.3)),
    aws("eu-west-2", "London", "GB", Europe, (51.5, -0.1)),
    aws("eu-west-3", "Paris", "FR", Europe, (48.9, 2.4)),
    aws("eu-central-1", "Frankfurt", "DE", Europe, (50.1, 8.7)),
    aws("eu-central-2", "Zurich", "CH", Europe, (47.4, 8.5)),
    aws("eu-north-1", "Stockholm", "SE", Europe, (59.3, 18.1)),
    aws("eu-south-1", "Milan", "IT", Europe, (45.5, 9.2)),
    aws("eu-south-2", "Aragon", "ES", Europe, (41.6, -0.9)),
    aws("me-south-1", "Bahrain", "BH", Asia, (26.1, 50.6)),
    aws("me-central-1", "United Arab Emirates", "AE", Asia, (24.4, 54.4)),
    aws("il-central-1", "Tel Aviv", "IL", Asia, (32.1, 34.8)),
    aws("af-south-1", "Cape Town", "ZA", Africa, (-33.9, 18.4)),
    aws("ap-south-1", "Mumbai", "IN", Asia, (19.1, 72.9)),
    aws("ap-southeast-1", "Singapore", "SG", Asia, (1.3, 103.8)),
    aws("ap-southeast-2", "Sydney", "AU", Oceania, (-33.9, 151.2)),
    aws("ap-southeast-3", "Jakarta", "ID", Asia, (-6.2, 106.8)),
    aws("ap-northeast-1", "Tokyo", "JP", Asia, (35.7, 139.7)),
    aws("ap-northeast-2", "Seoul", "KR", Asia, (37.6, 127.0)),
    aws("ap-northeast-3", "Osaka", "JP", Asia, (34.7, 135.5)),
    aws("ap-east-1", "Hong Kong", "HK", Asia, (22.3, 114.2)),
    gcp("us-central1", "Council Bluffs, Iowa", "US", NorthAmerica, (41.3, -95.9)),
    gcp("us-east1", "Moncks Corner, South Carolina", "US", NorthAmerica, (33.2, -80.0)),
    gcp("us-east4", "Ashburn, Virginia", "US", NorthAmerica, (39.0, -77.5)),
    gcp("us-west1", "The Dalles, Oregon", "US", NorthAmerica, (45.6, -121.2)),
    gcp("us-west2", "Los Angeles", "US", NorthAmerica, (34.1, -118.2)),
    gcp("northamerica-northeast1", "Montreal", "CA", NorthAmerica, (45.5, -73.6)),
    gcp("southamerica-east1", "São Paulo", "BR", SouthAmerica, (-23.5, -46.6)),
    gcp("europe-west1", "St. Ghislain", "BE", Europe, (50.5, 3.8)),
    gcp("europe-west2", "London", "GB", Europe, (51.5, -0.1)),
    gcp("europe-west3", "Frankfurt", "DE", Europe, (50.1, 8.7)),
    gcp("europe-west4", "Eemshaven", "NL", Europe, (53.4, 6.8)),
    gcp("europe-west6", "Zurich", "CH", Europe, (47.4, 8.5)),
    gcp("europe-west8", "Milan", "IT", Europe, (45.5, 9.2)),
    gcp("europe-west9", "Paris", "FR", Europe, (48.9, 2.4)),
    gcp("europe-north1", "Hamina", "FI", Europe, (60.6, 27.2)),
    gcp("europe-central2", "Warsaw", "PL", Europe, (52.2, 21.0)),
    gcp("europe-southwest1", "Madrid", "ES", Europe, (40.4, -3.7)),
    gcp("asia-south1", "Mumbai", "IN", Asia, (19.1, 72.9)),
    gcp("asia-southeast1", "Singapore", "SG", Asia, (1.3, 103.8)),
    gcp("asia-southeast2", "Jakarta", "ID", Asia, (-6.2, 106.8)),
    gcp("asia-east1", "Changhua", "TW", Asia, (24.1, 120.5)),
    gcp("asia-east2", "Hong Kong", "HK", Asia, (22.3, 114.2)),
    gcp("asia-northeast1", "Tokyo", "JP", Asia, (35.7, 139.7)),
    gcp("asia-northeast3", "Seoul", "KR", Asia, (37.6, 127.0)),
    gcp("australia-southeast1", "Sydney", "AU", Oceania, (-33.9, 151.2)),
    gcp("africa-south1", "Johannesburg", "ZA", Africa, (-26.2, 28.0)),
    azure("eastus", "Virginia", "US", NorthAmerica, (37.4, -79.8)),
    azure("eastus2", "Boydton, Virginia", "US", NorthAmerica, (36.7, -78.4)),
    azure("centralus", "Des Moines, Iowa", "US", NorthAmerica, (41.6, -93.6)),
    azure("southcentralus", "San Antonio, Texas", "US", NorthAmerica, (29.4, -98.5)),
    azure("westus2", "Quincy, Washington", "US", NorthAmerica, (47.2, -119.9)),
    azure("westus3", "Phoenix", "US", NorthAmerica, (33.4, -112.1)),
    azure("canadacentral", "Toronto", "CA", NorthAmerica, (43.7, -79.4)),
    azure("brazilsouth", "São Paulo", "BR", SouthAmerica, (-23.5, -46.6)),
    azure("northeurope", "Dublin", "IE", Europe, (53.3, -6.3)),
    azure("westeurope", "Amsterdam", "NL", Europe, (52.4, 4.9)),
    azure("uksouth", "London", "GB", Europe, (51.5, -0.1)),
    azure("francecentral", "Paris", "FR", Europe, (48.9, 2.4)),
    azure("germanywestcentral", "Frankfurt", "DE", Europe, (50.1, 8.7)),
    azure("switzerlandnorth", "Zurich", "CH", Europe, (47.4, 8.5)),
    azure("swedencentral", "Gävle", "SE", Europe, (60.7, 17.1)),
    azure("norwayeast", "Oslo", "NO", Europe, (59.9, 10.8)),
    azure("italynorth", "Milan", "IT", Europe, (45.5, 9.2)),
    azure("spaincentral", "Madrid", "ES", Europe, (40.4, -3.7)),
    azure("polandcentral", "Warsaw", "PL", Europe, (52.2, 21.0)),
    azure("uaenorth", "Dubai", "AE", Asia, (25.3, 55.3)),
    azure("southafricanorth", "Johannesburg", "ZA", Africa, (-26.2, 28.0)),
    azure("centralindia", "Pune", "IN", Asia, (18.5, 73.9)),
    azure("southeastasia", "Singapore", "SG", Asia, (1.3, 103.8)),
    azure("eastasia", "Hong Kong", "HK", Asia, (22.3, 114.2)),
    azure("japaneast", "Tokyo", "JP", Asia, (35.7, 139.7)),
    azure("koreacentral", "Seoul", "KR", Asia, (37.6, 127.0)),
    azure("australiaeast", "Sydney", "AU", Oceania, (-33.9, 151.2)),
];

const fn aws(
    name: &'static str,
    place: &'static str,
    country: &'static str,
    continent: Continent,
    at: (f64, f64),
) -> Region {
    Region { provider: "aws", name, place, country, continent, latitude: at.0, longitude: at.1 }
}

const fn gcp(
    name: &'static str,
    place: &'static str,
    country: &'static str,
    continent: Continent,
    at: (f64, f64),
) -> Region {
    Region { provider: "gcp", ..aws(name, place, country, continent, at) }
}

const fn azure(
    name: &'static str,
    place: &'static str,
    country: &'static str,
    continent: Continent,
    at: (f64, f64),
) -> Region {
    Region { provider: "azure", ..aws(name, place, country, continent, at) }
}
